//! The serial line that a computer is on: UART0, and USB where the chip has a serial port of its own.

use core::future::pending;

use embassy_futures::select::{Either, select};
use embassy_time::Timer;
use esp_hal::Async;
use esp_hal::gpio::interconnect::PeripheralInput;
use esp_hal::peripherals::UART0;
use esp_hal::uart::{Config, UartRx};

use super::provisioning::Line;
pub use usb::Usb;

/// The serial line: what arrives at UART0 (115,200 baud), and over USB. Answers go where esp-println prints.
///
/// [`console!`](crate::console) makes it.
pub struct Console {
    /// None if it cannot be set up.
    uart: Option<UartRx<'static, Async>>,
    usb: usb::Port,
}

impl Console {
    /// The serial line, from the peripherals and the pin that UART0 receives at.
    pub fn new(uart: UART0<'static>, receive: impl PeripheralInput<'static>, usb: Usb) -> Self {
        let uart = UartRx::new(uart, Config::default()).ok();
        Self {
            uart: uart.map(|uart| uart.with_rx(receive).into_async()),
            usb: usb::Port::new(usb),
        }
    }
}

impl Line for Console {
    async fn read(&mut self, bytes: &mut [u8]) -> usize {
        let mut over_usb = [0; 32];
        let uart = read(self.uart.as_mut(), bytes);
        match select(self.usb.read(&mut over_usb), uart).await {
            Either::First(count) => {
                for (byte, arrived) in bytes.iter_mut().zip(over_usb) {
                    *byte = arrived;
                }
                count
            }
            Either::Second(count) => count,
        }
    }

    fn write(&mut self, packet: &[u8]) {
        esp_println::Printer::write_bytes(packet);
    }
}

/// What arrives at the UART. Errors are no bytes.
async fn read(uart: Option<&mut UartRx<'static, Async>>, bytes: &mut [u8]) -> usize {
    let Some(uart) = uart else {
        return pending().await;
    };
    match uart.read_async(bytes).await {
        Ok(count) => count,
        Err(_) => {
            // A line that only makes errors must not keep the other tasks from running.
            Timer::after_millis(10).await;
            0
        }
    }
}

#[cfg(any(
    feature = "esp32c3",
    feature = "esp32c5",
    feature = "esp32c6",
    feature = "esp32s3"
))]
mod usb {
    use embedded_io_async::Read as _;
    use esp_hal::Async;
    use esp_hal::usb::usb_serial_jtag::{UsbSerialJtag, UsbSerialJtagRx};

    /// The peripheral of the chip's own USB serial port; `()` on a chip without one.
    pub type Usb = esp_hal::peripherals::USB_DEVICE<'static>;

    pub struct Port(UsbSerialJtagRx<'static, Async>);

    impl Port {
        pub fn new(usb: Usb) -> Self {
            Self(UsbSerialJtag::new(usb).into_async().split().0)
        }

        pub async fn read(&mut self, bytes: &mut [u8]) -> usize {
            // Cannot fail: its error is `Infallible`.
            self.0.read(bytes).await.unwrap_or_default()
        }
    }
}

#[cfg(not(any(
    feature = "esp32c3",
    feature = "esp32c5",
    feature = "esp32c6",
    feature = "esp32s3"
)))]
mod usb {
    /// The peripheral of the chip's own USB serial port; `()` on a chip without one.
    pub type Usb = ();

    pub struct Port;

    impl Port {
        pub fn new((): Usb) -> Self {
            Self
        }

        pub async fn read(&mut self, _: &mut [u8]) -> usize {
            core::future::pending().await
        }
    }
}

/// The serial line of this chip, a [`Console`], from the peripherals that [`start`](crate::start) returns. The pin is UART0's after a
/// reset.
#[macro_export]
macro_rules! console {
    ($chip:ident) => {
        $crate::__console!($chip)
    };
}

#[cfg(feature = "esp32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __console {
    ($chip:ident) => {
        $crate::improv::Console::new($chip.UART0, $chip.GPIO3, ())
    };
}

#[cfg(feature = "esp32s2")]
#[doc(hidden)]
#[macro_export]
macro_rules! __console {
    ($chip:ident) => {
        $crate::improv::Console::new($chip.UART0, $chip.GPIO44, ())
    };
}

#[cfg(feature = "esp32s3")]
#[doc(hidden)]
#[macro_export]
macro_rules! __console {
    ($chip:ident) => {
        $crate::improv::Console::new($chip.UART0, $chip.GPIO44, $chip.USB_DEVICE)
    };
}

#[cfg(feature = "esp32c2")]
#[doc(hidden)]
#[macro_export]
macro_rules! __console {
    ($chip:ident) => {
        $crate::improv::Console::new($chip.UART0, $chip.GPIO19, ())
    };
}

#[cfg(feature = "esp32c3")]
#[doc(hidden)]
#[macro_export]
macro_rules! __console {
    ($chip:ident) => {
        $crate::improv::Console::new($chip.UART0, $chip.GPIO20, $chip.USB_DEVICE)
    };
}

#[cfg(feature = "esp32c5")]
#[doc(hidden)]
#[macro_export]
macro_rules! __console {
    ($chip:ident) => {
        $crate::improv::Console::new($chip.UART0, $chip.GPIO12, $chip.USB_DEVICE)
    };
}

#[cfg(feature = "esp32c6")]
#[doc(hidden)]
#[macro_export]
macro_rules! __console {
    ($chip:ident) => {
        $crate::improv::Console::new($chip.UART0, $chip.GPIO17, $chip.USB_DEVICE)
    };
}
