//! A firmware in the emulator has no radio. It has an Ethernet socket instead, and this is its driver.
//!
//! Espressif's QEMU puts an OpenCores Ethernet MAC into the chips it emulates. [`OpenEth`] makes it an
//! interface for [embassy-net], so one firmware runs over Wi-Fi on the board and over Ethernet in the
//! emulator:
//!
//! ```no_run
//! use s3ota_open_eth::{OpenEth, OpenEthError};
//!
//! /// Called from the interrupt handler of source 0, which ESP32-C3 firmware knows as `WIFI_MAC`.
//! fn ethernet_interrupt() {
//!     s3ota_open_eth::on_interrupt();
//! }
//!
//! fn main() -> Result<(), OpenEthError> {
//!     let interface = OpenEth::new()?;
//!     // Hand it to `embassy_net::new(interface, Config::dhcpv4(…), …)`.
//!     # let _ = (interface, ethernet_interrupt);
//!     Ok(())
//! }
//! ```
//!
//! With esp-hal (feature `unstable`) the interrupt is connected by
//!
//! ```ignore
//! #[esp_hal::handler]
//! fn ethernet_interrupt() {
//!     s3ota_open_eth::on_interrupt();
//! }
//!
//! esp_hal::interrupt::bind_handler(esp_hal::peripherals::Interrupt::WIFI_MAC, ethernet_interrupt);
//! ```
//!
//! A firmware that does not want the interrupt calls [`on_interrupt`] from a task every few milliseconds.
//!
//! The emulator gives the network with `-nic user,model=open_eth`: DHCP answers with 10.0.2.15, and the host is
//! 10.0.2.2.
//!
//! # What it runs on
//!
//! The machine `esp32c3`. No chip has this MAC: on an ESP32-C3 board [`OpenEth::new`] reads one word, answers
//! [`OpenEthError::NotEmulated`] and touches nothing. On other chips the addresses mean something else: build it
//! for the ESP32-C3 only.
//!
//! # Memory
//!
//! 10 static buffers of 1,600 bytes: [`RX_FRAMES`] for frames that came, [`TX_FRAMES`] for frames to send.
//! A firmware that never names [`OpenEth`] does not carry them.
//!
//! # Sources
//!
//! - The MAC: OpenCores, "Ethernet IP Core Specification" (`eth_speci.pdf`), its registers and buffer descriptors.
//! - What the emulator makes of it: QEMU, `hw/net/opencores_eth.c`. It sends a frame while the write of the
//!   descriptor lasts, and drops a frame that finds no empty descriptor.
//! - Where it is: Espressif's QEMU, `hw/riscv/esp32c3.c` (`esp32c3_init_openeth`) and
//!   `include/hw/riscv/esp32c3_intmatrix.h` (`ETS_ETH_MAC_INTR_SOURCE`).
//! - The driver that was there first: ESP-IDF, `components/esp_eth/src/openeth/`.
//!
//! [embassy-net]: https://docs.rs/embassy-net

#![cfg_attr(not(test), no_std)]
#![deny(missing_docs)]

use core::fmt;
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;

mod descriptor;
#[allow(
    unsafe_code,
    reason = "registers and DMA buffers: the one place that needs it"
)]
mod hardware;
mod ring;

pub use hardware::{RX_FRAMES, TX_FRAMES};
pub use ring::{RxToken, TxToken};

use hardware::{Parts, Registers};
use ring::{RxRing, TxRing};

/// The longest frame this interface takes, in bytes: Ethernet header and payload, without the checksum.
///
/// 14 + 1,500, IEEE 802.3.
pub const MTU: usize = 1_514;

/// The task that waits for frames.
static WAKER: AtomicWaker = AtomicWaker::new();

/// The emulator's Ethernet interface, a [`Driver`] for embassy-net.
///
/// There is one. It lives as long as the firmware.
#[derive(Debug)]
pub struct OpenEth {
    registers: Registers,
    rx: RxRing,
    tx: TxRing,
}

impl OpenEth {
    /// Starts the MAC, with the hardware address the emulator gave it.
    ///
    /// # Errors
    ///
    /// [`OpenEthError`] says why there is no interface. Nothing was started then.
    pub fn new() -> Result<Self, OpenEthError> {
        Ok(Self::start(hardware::take()?))
    }

    fn start((mut registers, rx, tx): Parts) -> Self {
        let (mut rx, mut tx) = (RxRing::new(rx), TxRing::new(tx));
        registers.reset(tx.len());
        rx.give_all();
        tx.clear_all();
        registers.enable();
        Self { registers, rx, tx }
    }

    /// The hardware address. QEMU sets it by `-nic …,mac=`, or makes one up: 52:54:00:12:34:56.
    #[must_use]
    pub fn mac_address(&self) -> [u8; 6] {
        self.registers.mac_address()
    }
}

/// To be called when the MAC interrupts: source 0 of the interrupt matrix, level-triggered.
///
/// Quiets the interrupt and wakes the task that runs the network stack. It may be called at any time, from
/// an interrupt handler or a task, and without need: a spurious call costs one turn of the stack. Before
/// [`OpenEth::new`] succeeded it does nothing.
pub fn on_interrupt() {
    if hardware::acknowledge_interrupts() {
        WAKER.wake();
    }
}

impl Driver for OpenEth {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, cx: &mut Context) -> Option<(RxToken<'_>, TxToken<'_>)> {
        // First the waker, then the look: a frame that comes between the two wakes.
        WAKER.register(cx.waker());
        let rx = self.rx.token()?;
        let tx = transmit_or_retry(&mut self.tx, cx)?;
        Some((rx, tx))
    }

    fn transmit(&mut self, cx: &mut Context) -> Option<TxToken<'_>> {
        transmit_or_retry(&mut self.tx, cx)
    }

    /// Asks the MAC. It does not interrupt when the link changes: embassy-net sees it at its next turn.
    fn link_state(&mut self, cx: &mut Context) -> LinkState {
        WAKER.register(cx.waker());
        if self.registers.link_is_up() {
            LinkState::Up
        } else {
            LinkState::Down
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        // The stack keeps its TCP window small enough that a burst finds room.
        capabilities.max_burst_size = Some(RX_FRAMES);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac_address())
    }
}

/// A place to send from. Where every descriptor is still on its way, the task comes back at once: the emulator
/// sends while it is told to, so this does not spin.
fn transmit_or_retry<'a>(tx: &'a mut TxRing, cx: &mut Context) -> Option<TxToken<'a>> {
    let token = tx.token();
    if token.is_none() {
        cx.waker().wake_by_ref();
    }
    token
}

/// Why there is no Ethernet interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenEthError {
    /// The firmware runs on a chip, or in an emulator that is not Espressif's QEMU.
    NotEmulated,
    /// The emulator was started without the MAC.
    NoMac,
    /// There is one interface, and [`OpenEth::new`] was called before.
    AlreadyTaken,
}

impl fmt::Display for OpenEthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotEmulated => {
                "this is not Espressif's QEMU, and chips do not have this Ethernet MAC: build the firmware for Wi-Fi"
            }
            Self::NoMac => "the emulator has no Ethernet MAC: start it with `-nic user,model=open_eth`",
            Self::AlreadyTaken => "the Ethernet interface is in use: call OpenEth::new once and keep what it returns",
        })
    }
}

impl core::error::Error for OpenEthError {}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::vec::Vec;

    use embassy_net_driver::{RxToken as _, TxToken as _};

    use super::*;
    use crate::hardware::fake::FakeMac;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn interface() -> (FakeMac, OpenEth) {
        let (mac, parts) = FakeMac::new();
        (mac, OpenEth::start(parts))
    }

    fn receive(interface: &mut OpenEth) -> Option<Vec<u8>> {
        let (rx, _) = interface.receive(&mut Context::from_waker(Waker::noop()))?;
        Some(rx.consume(|frame| frame.to_vec()))
    }

    fn transmit(interface: &mut OpenEth, frame: &[u8]) -> bool {
        match interface.transmit(&mut Context::from_waker(Waker::noop())) {
            Some(tx) => {
                tx.consume(frame.len(), |buffer| buffer.copy_from_slice(frame));
                true
            }
            None => false,
        }
    }

    #[test]
    fn frames_come_in_order_and_whole_however_often_the_ring_turns() {
        let (mut mac, mut interface) = interface();
        for turn in 0..3 * RX_FRAMES {
            let frame = std::vec![turn as u8; 60 + turn * 50];
            assert!(mac.deliver(&frame));
            assert_eq!(receive(&mut interface), Some(frame));
            assert_eq!(receive(&mut interface), None);
        }
    }

    #[test]
    fn the_longest_frame_comes_whole() {
        let (mut mac, mut interface) = interface();
        let frame = std::vec![0xA5; MTU];
        assert!(mac.deliver(&frame));
        assert_eq!(receive(&mut interface), Some(frame));
    }

    #[test]
    fn a_burst_of_as_many_frames_as_buffers_is_received_and_what_is_over_is_lost() {
        let (mut mac, mut interface) = interface();
        for n in 0..RX_FRAMES {
            assert!(mac.deliver(&[n as u8; 60]));
        }
        assert!(!mac.deliver(&[0xFF; 60]));
        for n in 0..RX_FRAMES {
            assert_eq!(receive(&mut interface), Some(std::vec![n as u8; 60]));
        }
        assert_eq!(receive(&mut interface), None);
        assert!(mac.deliver(&[7; 60]), "the buffers are free again");
        assert_eq!(receive(&mut interface), Some(std::vec![7; 60]));
    }

    #[test]
    fn a_frame_that_was_not_read_stays() {
        let (mut mac, mut interface) = interface();
        assert!(mac.deliver(&[1; 60]));
        assert!(
            interface
                .receive(&mut Context::from_waker(Waker::noop()))
                .is_some()
        );
        assert_eq!(receive(&mut interface), Some(std::vec![1; 60]));
    }

    #[test]
    fn frames_are_sent_in_order_however_often_the_ring_turns() {
        let (mut mac, mut interface) = interface();
        for turn in 0..3 * TX_FRAMES {
            let frame = std::vec![turn as u8; 42 + turn];
            assert!(transmit(&mut interface, &frame));
            assert_eq!(mac.send(), Some(frame));
        }
        assert_eq!(mac.send(), None);
    }

    #[test]
    fn while_every_buffer_is_on_its_way_nothing_is_sent_and_the_task_comes_back() {
        let (mut mac, mut interface) = interface();
        for n in 0..TX_FRAMES {
            assert!(transmit(&mut interface, &[n as u8; 60]));
        }
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        assert!(
            interface
                .transmit(&mut Context::from_waker(&waker))
                .is_none()
        );
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(mac.send(), Some(std::vec![0; 60]));
        assert!(transmit(&mut interface, &[9; 60]));
    }

    #[test]
    fn the_address_is_the_one_the_emulator_gave() {
        let (_mac, interface) = interface();
        assert_eq!(
            interface.mac_address(),
            [0x52, 0x54, 0x00, 0x12, 0x34, 0x56]
        );
        let HardwareAddress::Ethernet(address) = interface.hardware_address() else {
            panic!("not an Ethernet address");
        };
        assert_eq!(address, interface.mac_address());
    }

    #[test]
    fn the_link_goes_down_with_the_cable() {
        let (mac, mut interface) = interface();
        let mut is_up =
            || interface.link_state(&mut Context::from_waker(Waker::noop())) == LinkState::Up;
        assert!(is_up());
        mac.pull_the_cable();
        assert!(!is_up());
    }

    #[test]
    fn the_mac_is_given_away_once() {
        let taken = Cell::new(false);
        let (_mac, (registers, ..)) = FakeMac::new();
        assert_eq!(hardware::claim(&taken, &registers), Ok(()));
        assert_eq!(
            hardware::claim(&taken, &registers),
            Err(OpenEthError::AlreadyTaken)
        );
    }

    #[test]
    fn an_emulator_without_the_mac_is_told_apart_and_nothing_is_taken() {
        let taken = Cell::new(false);
        let (registers, ..) = FakeMac::absent();
        assert_eq!(
            hardware::claim(&taken, &registers),
            Err(OpenEthError::NoMac)
        );
        assert!(!taken.get());
    }

    #[test]
    fn an_interrupt_before_the_start_touches_nothing() {
        on_interrupt();
    }

    #[test]
    fn every_error_says_what_to_do() {
        for error in [
            OpenEthError::NotEmulated,
            OpenEthError::NoMac,
            OpenEthError::AlreadyTaken,
        ] {
            assert!(error.to_string().contains(": "), "{error}");
        }
    }
}
