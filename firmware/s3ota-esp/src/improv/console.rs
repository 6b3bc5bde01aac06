//! The serial line that a computer is on: UART0, and USB where the chip has a serial port of its own.

use core::future::pending;

#[cfg(any(
    feature = "esp32c3",
    feature = "esp32c5",
    feature = "esp32c6",
    feature = "esp32s3"
))]
use embassy_futures::select::{Either, select};
use embassy_time::Timer;
use esp_hal::Async;
use esp_hal::gpio::interconnect::PeripheralInput;
use esp_hal::peripherals::UART0;
use esp_hal::uart::{Config, UartRx};
#[cfg(any(
    feature = "esp32c3",
    feature = "esp32c5",
    feature = "esp32c6",
    feature = "esp32s3"
))]
use esp_hal::usb::usb_serial_jtag::{UsbSerialJtag, UsbSerialJtagRx};

use super::provisioning::Line;

/// The peripheral of the chip's own USB serial port.
#[cfg(any(
    feature = "esp32c3",
    feature = "esp32c5",
    feature = "esp32c6",
    feature = "esp32s3"
))]
pub type Usb = esp_hal::peripherals::USB_DEVICE<'static>;

/// This chip has no USB serial port of its own.
#[cfg(not(any(
    feature = "esp32c3",
    feature = "esp32c5",
    feature = "esp32c6",
    feature = "esp32s3"
)))]
pub type Usb = ();

/// The serial line: what arrives at UART0 (115,200 baud) and over USB. Answers go where esp-println prints. `console!` makes it.
pub struct Console {
    /// None if it cannot be set up.
    uart: Option<UartRx<'static, Async>>,
    #[cfg(any(
        feature = "esp32c3",
        feature = "esp32c5",
        feature = "esp32c6",
        feature = "esp32s3"
    ))]
    usb: UsbSerialJtagRx<'static, Async>,
}

impl Console {
    /// The serial line, from the peripherals and the pin that UART0 receives at.
    pub fn new(uart: UART0<'static>, receive: impl PeripheralInput<'static>, usb: Usb) -> Self {
        let uart = UartRx::new(uart, Config::default()).ok();
        #[cfg(not(any(
            feature = "esp32c3",
            feature = "esp32c5",
            feature = "esp32c6",
            feature = "esp32s3"
        )))]
        let () = usb;
        Self {
            uart: uart.map(|uart| uart.with_rx(receive).into_async()),
            #[cfg(any(
                feature = "esp32c3",
                feature = "esp32c5",
                feature = "esp32c6",
                feature = "esp32s3"
            ))]
            usb: UsbSerialJtag::new(usb).into_async().split().0,
        }
    }
}

impl Line for Console {
    #[cfg(any(
        feature = "esp32c3",
        feature = "esp32c5",
        feature = "esp32c6",
        feature = "esp32s3"
    ))]
    async fn read(&mut self, bytes: &mut [u8]) -> usize {
        use embedded_io_async::Read as _;

        let mut over_usb = [0; 32];
        let uart = read(self.uart.as_mut(), bytes);
        match select(self.usb.read(&mut over_usb), uart).await {
            Either::First(count) => {
                for (byte, arrived) in bytes.iter_mut().zip(over_usb) {
                    *byte = arrived;
                }
                count.unwrap_or_default()
            }
            Either::Second(count) => count,
        }
    }

    #[cfg(not(any(
        feature = "esp32c3",
        feature = "esp32c5",
        feature = "esp32c6",
        feature = "esp32s3"
    )))]
    async fn read(&mut self, bytes: &mut [u8]) -> usize {
        read(self.uart.as_mut(), bytes).await
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
