//! Findings of the doctor: severity, what it is, and the fix.

use console::Style;
use serde_json::json;

use super::features::list;
use crate::error::CliError;
use crate::output::Output;
use crate::output::terminal::Painted;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// A device copes, but not as well as it could.
    Warning,
    /// A device would not update itself.
    Fault,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// Reports each finding as it is made, and counts them.
#[derive(Debug)]
pub struct Report {
    out: Output,
    faults: u32,
    warnings: u32,
    /// The features that only a firmware built with them has, and that a device needs.
    features: Vec<&'static str>,
}

impl Report {
    /// An empty report.
    pub fn new(out: Output) -> Self {
        Self {
            out,
            faults: 0,
            warnings: 0,
            features: Vec::new(),
        }
    }

    /// Where it is printed.
    pub fn out(&self) -> &Output {
        &self.out
    }

    /// Whether something would stop a device.
    pub fn has_faults(&self) -> bool {
        self.faults > 0
    }

    /// Something is as it should be.
    pub fn good(&mut self, subject: &str, message: impl Into<String>) {
        self.tell(Severity::Good, subject, None, message.into(), None);
    }

    /// Something is worth knowing.
    pub fn note(&mut self, subject: &str, message: impl Into<String>) {
        self.tell(Severity::Note, subject, None, message.into(), None);
    }

    /// Something could be better; `fix` says how.
    pub fn warning(
        &mut self,
        subject: &str,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.warnings += 1;
        let fix = Some(fix.into());
        self.tell(Severity::Warning, subject, Some(code), message.into(), fix);
    }

    /// Something would stop a device; `fix` says what to do.
    pub fn fault(
        &mut self,
        subject: &str,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.faults += 1;
        let fix = Some(fix.into());
        self.tell(Severity::Fault, subject, Some(code), message.into(), fix);
    }

    /// A device needs firmware with these features.
    pub fn needs(&mut self, features: &[&'static str]) {
        for feature in features {
            if !self.features.contains(feature) {
                self.features.push(feature);
            }
        }
    }

    /// Ends the report: an error if something would stop a device.
    pub fn conclude(self) -> Result<(), CliError> {
        let Self {
            out,
            faults,
            warnings,
            features,
        } = self;
        out.event(
            "diagnosis",
            json!({ "faults": faults, "warnings": warnings, "features": features }),
        );
        if faults > 0 {
            let message = match faults {
                1 => "one thing would stop a device from updating itself".to_owned(),
                n => format!("{n} things would stop a device from updating itself"),
            };
            return Err(CliError::new("doctor.fault", message)
                .hint("fix what is marked ✗ above, and check again"));
        }
        let device = match features.is_empty() {
            true => "a device".to_owned(),
            false => format!("a device whose firmware has {}", list(&features)),
        };
        let better = match warnings {
            0 => String::new(),
            1 => "; one thing could be better".to_owned(),
            n => format!("; {n} things could be better"),
        };
        out.prose(format_args!("\n{device} would update itself{better}"));
        Ok(())
    }

    fn tell(
        &self,
        severity: Severity,
        subject: &str,
        code: Option<&'static str>,
        message: String,
        fix: Option<String>,
    ) {
        let mark = match severity {
            Severity::Good => Painted::new(Style::new().green(), "✓"),
            Severity::Note => Painted::new(Style::new().dim(), "·"),
            Severity::Warning => Painted::new(Style::new().yellow().bold(), "!"),
            Severity::Fault => Painted::new(Style::new().red().bold(), "✗"),
        };
        self.out.say_marked("  ", &mark, &message);
        if let Some(fix) = &fix {
            let arrow = Painted::new(Style::new().cyan(), "→");
            self.out.say_marked("    ", &arrow, fix);
        }
        let mut fields =
            json!({ "severity": severity.name(), "subject": subject, "message": message });
        if let Some(code) = code {
            fields["code"] = json!(code);
        }
        if let Some(fix) = fix {
            fields["fix"] = json!(fix);
        }
        self.out.event("finding", fields);
    }
}
