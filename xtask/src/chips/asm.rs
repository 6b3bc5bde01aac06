// An `asm!` without assembly: in the copy of `core` that the Xtensa chips are type-checked with it takes the place of the
// compiler's own. Operands are evaluated, assigned and type-checked as by the compiler's; templates are not looked at.
pub macro asm {
    () => {
        $crate::arch::asm_in(())
    },
    // The last one.
    (options($($option:ident),* $(,)?) $(,)?) => {
        $crate::arch::asm_in(())
    },
    (options($($option:ident),* $(,)?), $($rest:tt)+) => {
        $crate::arch::asm!($($rest)+)
    },
    (clobber_abi($($abi:tt)*) $(, $($rest:tt)*)?) => {
        $crate::arch::asm!($($($rest)*)?)
    },
    (in($($register:tt)*) $value:expr $(, $($rest:tt)*)?) => {{
        $crate::arch::asm_in($value);
        $crate::arch::asm!($($($rest)*)?)
    }},
    (out($($register:tt)*) _ $(, $($rest:tt)*)?) => {
        $crate::arch::asm!($($($rest)*)?)
    },
    (out($($register:tt)*) $place:expr $(, $($rest:tt)*)?) => {{
        $place = $crate::arch::asm_out();
        $crate::arch::asm!($($($rest)*)?)
    }},
    (lateout($($operand:tt)*) $($rest:tt)*) => {
        $crate::arch::asm!(out($($operand)*) $($rest)*)
    },
    (inout($($register:tt)*) $value:expr => _ $(, $($rest:tt)*)?) => {{
        $crate::arch::asm_in($value);
        $crate::arch::asm!($($($rest)*)?)
    }},
    (inout($($register:tt)*) $value:expr => $place:expr $(, $($rest:tt)*)?) => {{
        $crate::arch::asm_in($value);
        $place = $crate::arch::asm_out();
        $crate::arch::asm!($($($rest)*)?)
    }},
    (inout($($register:tt)*) $place:expr $(, $($rest:tt)*)?) => {{
        $crate::arch::asm_in($place);
        $place = $crate::arch::asm_out();
        $crate::arch::asm!($($($rest)*)?)
    }},
    (inlateout($($operand:tt)*) $($rest:tt)*) => {
        $crate::arch::asm!(inout($($operand)*) $($rest)*)
    },
    (const $value:expr $(, $($rest:tt)*)?) => {{
        let _ = $value;
        $crate::arch::asm!($($($rest)*)?)
    }},
    (sym $item:path $(, $($rest:tt)*)?) => {{
        let _ = $item;
        $crate::arch::asm!($($($rest)*)?)
    }},
    ($name:ident = $($rest:tt)+) => {
        $crate::arch::asm!($($rest)+)
    },
    ($template:expr $(, $($rest:tt)*)?) => {
        $crate::arch::asm!($($($rest)*)?)
    },
}

/// Takes what an operand puts into a register.
///
/// # Safety
///
/// As safe as `asm!`, in whose place it stands.
#[stable(feature = "asm", since = "1.59.0")]
pub unsafe fn asm_in<T>(_: T) {}

/// Gives what an operand takes out of a register.
///
/// # Safety
///
/// Never to be run: this `core` is only type-checked.
#[stable(feature = "asm", since = "1.59.0")]
pub unsafe fn asm_out<T>() -> T {
    loop {}
}
