//! The two rings of descriptors, and the tokens by which the network stack moves a frame through them.

use core::fmt;

use crate::hardware::{RX_FRAMES, RxSlot, TX_FRAMES, TxSlot};

/// The frames that came, oldest first.
pub(crate) struct RxRing {
    slots: [RxSlot; RX_FRAMES],
    next: usize,
}

impl RxRing {
    pub(crate) fn new(slots: [RxSlot; RX_FRAMES]) -> Self {
        Self { slots, next: 0 }
    }

    /// Gives every buffer to the MAC, empty.
    pub(crate) fn give_all(&mut self) {
        self.next = 0;
        for slot in &mut self.slots {
            slot.give();
        }
    }

    /// The oldest frame, if one has come.
    pub(crate) fn token(&mut self) -> Option<RxToken<'_>> {
        let slot = self.slots.get_mut(self.next)?;
        slot.has_frame().then_some(RxToken {
            slot,
            next: &mut self.next,
        })
    }
}

/// A frame that came, of the interface [`OpenEth`](crate::OpenEth). Its buffer goes back to the MAC when it is
/// consumed; dropped unread, the frame stays where it is.
pub struct RxToken<'a> {
    slot: &'a mut RxSlot,
    next: &'a mut usize,
}

impl embassy_net_driver::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        let result = read(self.slot.frame());
        self.slot.give();
        *self.next = following(*self.next, RX_FRAMES);
        result
    }
}

/// The frames to send.
pub(crate) struct TxRing {
    slots: [TxSlot; TX_FRAMES],
    next: usize,
}

impl TxRing {
    pub(crate) fn new(slots: [TxSlot; TX_FRAMES]) -> Self {
        Self { slots, next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes every buffer from the MAC.
    pub(crate) fn clear_all(&mut self) {
        self.next = 0;
        for slot in &mut self.slots {
            slot.clear();
        }
    }

    /// A buffer to send from, if the next one is free.
    pub(crate) fn token(&mut self) -> Option<TxToken<'_>> {
        let slot = self.slots.get_mut(self.next)?;
        slot.is_free().then_some(TxToken {
            slot,
            next: &mut self.next,
        })
    }
}

/// A place for a frame to send, of the interface [`OpenEth`](crate::OpenEth).
pub struct TxToken<'a> {
    slot: &'a mut TxSlot,
    next: &'a mut usize,
}

impl embassy_net_driver::TxToken for TxToken<'_> {
    /// `length` is at most [`MTU`](crate::MTU), as the interface's capabilities say.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let frame = self.slot.buffer(length);
        let length = frame.len();
        let result = write(frame);
        self.slot.send(length);
        *self.next = following(*self.next, TX_FRAMES);
        result
    }
}

/// The place behind `index` in a ring of `count`.
fn following(index: usize, count: usize) -> usize {
    if index.saturating_add(1) < count {
        index.saturating_add(1)
    } else {
        0
    }
}

impl fmt::Debug for RxRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxRing")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TxRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxRing")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RxToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxToken").finish_non_exhaustive()
    }
}

impl fmt::Debug for TxToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxToken").finish_non_exhaustive()
    }
}
