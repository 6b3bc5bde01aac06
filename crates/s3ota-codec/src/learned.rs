//! Where addresses have gone that the copy table does not know: learned from those that were predicted wrong.

/// How many addresses are remembered.
const SLOTS: usize = 128;

/// How far from a known address another one may lie to have moved with it.
const NEAR: u32 = 4096;

/// Addresses in the base, and what became of them.
pub(crate) struct Learned {
    slots: [[u32; 2]; SLOTS],
}

impl Learned {
    pub(crate) const EMPTY: Learned = Learned {
        slots: [[0; 2]; SLOTS],
    };

    pub(crate) fn clear(&mut self) {
        self.slots.fill([0; 2]);
    }

    fn slot(old: u32) -> usize {
        (old.wrapping_mul(0x9e37_79b1) >> 25) as usize & (SLOTS - 1)
    }

    /// What became of this very address.
    pub(crate) fn exact(&self, old: u32) -> Option<u32> {
        let [known, new] = self.slots[Learned::slot(old)];
        (known == old && old != 0).then_some(new)
    }

    /// What became of it if it moved with the nearest one that is known.
    pub(crate) fn near(&self, old: u32) -> Option<u32> {
        let mut best = None;
        let mut distance = NEAR;
        for [known, new] in &self.slots {
            let d = known.abs_diff(old);
            if d < distance && *known != 0 {
                distance = d;
                best = Some(old.wrapping_add(new.wrapping_sub(*known)));
            }
        }
        best
    }

    pub(crate) fn insert(&mut self, old: u32, new: u32) {
        self.slots[Learned::slot(old)] = [old, new];
    }
}
