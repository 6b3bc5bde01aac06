//! The last steps of a launch, which nothing of this firmware survives.
//!
//! A plan's segments go where this firmware's own code, data and stack are. So a stub of a few instructions is copied to where no
//! image has anything, with the plan behind it, and jumped to. It copies the segments that belong in RAM, through the flash cache
//! as the bootloader does; maps the others; and jumps to the new firmware's first instruction.
//!
//! It lies where ESP-IDF's bootloader has its own code while it loads an image: see `s3ota_image::launch::Memory::loader`. The order
//! of its steps is that of the bootloader (`set_cache_and_start_app` in ESP-IDF's
//! `components/bootloader_support/src/bootloader_utility.c`): switch the cache off, map, open its buses, switch it on, jump.

#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::ptr::{copy_nonoverlapping, with_exposed_provenance_mut};

use s3ota_image::launch::{Memory, Plan, Step, Table};

use crate::launch::MEMORY;

/// Where the stub goes, then the plan. The stack grows down from `STACK`, and the mask ROM's functions need a few dozen bytes of it.
const STUB: u32 = MEMORY.loader.start;
const ROOM: usize = match MEMORY.table {
    Table::Direct(_) => 0x94,
    Table::Indexed { .. } => 0xA0,
};
const PLAN: u32 = STUB + ROOM as u32;
const STACK: u32 = STUB + 0x1000;

const _: () = assert!(
    PLAN + size_of::<Plan>() as u32 + 0x200 < STACK && STACK < MEMORY.loader.end,
    "the plan and some stack have room behind the stub"
);

/// How far the address that the CPU fetches the stub from is above the one it is written to.
const FETCHED: u32 = MEMORY.above;

/// How an entry of the cache's table is set: 1 if the table lies in memory; the register that says which entry it is; the table, or
/// the register that is the entry's content.
const TABLE: (u32, u32, u32) = match MEMORY.table {
    Table::Direct(table) => (1, 0, table),
    Table::Indexed { index, content } => (0, index, content),
};

/// A plan without steps, where the stub looks for it.
///
/// Call it before `esp_hal::init`, and once.
#[inline(never)]
pub(crate) fn plan() -> &'static mut Plan {
    let plan: *mut Plan = with_exposed_provenance_mut(PLAN as usize);
    // SAFETY: `Memory::loader` is RAM that belongs to no variable and to no stack of this program: its linker script ends below
    // (esp-hal, `ld/*/memory.x`). A heap may lie there (`#[ram(reclaimed)]`), but not before `main` has made one. The assertion above
    // says that the plan fits, and it is aligned, as `STUB` and `ROOM` are multiples of 4. All zero it is one without steps.
    unsafe {
        plan.write_bytes(0, 1);
        &mut *plan
    }
}

/// Carries out the [`plan`]. For a short time, nothing else of this program may run: call it before `esp_hal::init`, which is when one
/// core runs, no DMA is under way, and PMP and watchpoints are as the bootloader left them.
pub(crate) fn run(_plan: &'static Plan) -> ! {
    unsafe extern "C" {
        static s3ota_launch_stub: [u8; ROOM];
    }
    let machine_status: u32;
    // SAFETY: from here on no interrupt handler runs, nor anything else of this program: this function never returns. Bit 3 of
    // `mstatus` (MIE) switches interrupts; what it was is kept, because the new firmware must find it as this one has.
    unsafe {
        asm!("csrrci {}, mstatus, 8", out(reg) machine_status, options(nostack));
    }
    // SAFETY: the memory is as in `plan`, and the stub lies before that. The assembler has checked that it is as long as its room.
    unsafe {
        copy_nonoverlapping(
            &raw const s3ota_launch_stub,
            with_exposed_provenance_mut(STUB as usize),
            1,
        );
    }
    // SAFETY: the stub is there, and takes its arguments in these registers. It overwrites this program, which has ended.
    unsafe {
        asm!(
            "fence",
            "jr {stub}",
            stub = in(reg) STUB + FETCHED,
            in("a0") PLAN,
            in("a1") STACK,
            in("a2") machine_status,
            options(noreturn),
        );
    }
}

// Runs where it is copied to: all its jumps are relative. Registers s0 to s11 survive the mask ROM's functions, as in any function
// of the RISC-V calling convention.
global_asm!(
    r#"
    .section .rodata.s3ota_launch_stub, "a"
    .balign 4
    .option push
    .option rvc                 # all these chips have compressed instructions
    .option norelax
    .global s3ota_launch_stub
s3ota_launch_stub:
    mv   s0, a0                 # the plan: see `Plan` in s3ota-image
    mv   sp, a1                 # a stack that no segment overwrites
    mv   s1, a2                 # mstatus, for the new firmware
    li   s6, {disable}          # mask ROM: switch the cache off, and drop what is in it
    li   s7, {enable}           # and on
    jalr s6
    mv   s2, a0                 # whether it loads ahead: what the mask ROM wants to know when it is switched on

    addi s4, s0, {steps}        # its steps
    addi s3, s4, {all}          # where they end
1:                              # A step. First it sets entries of the cache's table: from which on, to what, and how many
    lw   a0, {entry}(s4)
    lw   a1, {content}(s4)
    lw   a2, {count}(s4)
    li   t1, {contents}
    .if {direct}                # a table
    slli a0, a0, 2
    add  t1, t1, a0
    .else                       # two registers
    li   t0, {index}
    .endif
2:
    beqz a2, 3f
    .if {direct}
    sw   a1, 0(t1)              # `mmu_ll_write_entry`: the content, in its place in the table
    addi t1, t1, 4
    .else
    sw   a0, 0(t0)              # the same of the other chips: which entry it is,
    sw   a1, 0(t1)              # and its content
    addi a0, a0, 1
    .endif
    addi a1, a1, 1              # each entry has the next page
    addi a2, a2, -1
    j    2b
3:
    lw   s5, {from}(s4)
    beqz s5, 5f                 # this step copies nothing
    mv   a0, s2
    jalr s7
    lw   a4, {to}(s4)
    lw   a5, {end}(s4)
4:
    lw   t0, 0(s5)              # from flash, through the cache
    sw   t0, 0(a4)              # to RAM
    addi s5, s5, 4
    addi a4, a4, 4
    bltu a4, a5, 4b
    jalr s6
5:
    addi s4, s4, {step}
    bltu s4, s3, 1b

    li   t0, {buses}            # open both buses of the cache (`cache_ll_l1_enable_bus`)
    lw   t1, 0(t0)
    andi t1, t1, -4
    sw   t1, 0(t0)
    mv   a0, s2
    jalr s7
    fence                       # what was copied is there before it is fetched
    lw   t0, {first}(s0)        # the new firmware's first instruction
    csrw mstatus, s1            # interrupts as the bootloader left them: esp-hal never switches them on
    jr   t0
    .org s3ota_launch_stub + {room}     # an error if it is longer
    .option pop
    .section .text
"#,
    disable = const MEMORY.disable,
    enable = const MEMORY.enable,
    buses = const MEMORY.buses,
    direct = const TABLE.0,
    index = const TABLE.1,
    contents = const TABLE.2,
    room = const ROOM,
    first = const offset_of!(Plan, first_instruction),
    steps = const offset_of!(Plan, steps),
    all = const Plan::STEPS * size_of::<Step>(),
    step = const size_of::<Step>(),
    entry = const offset_of!(Step, entry),
    content = const offset_of!(Step, content),
    count = const offset_of!(Step, count),
    from = const offset_of!(Step, from),
    to = const offset_of!(Step, to),
    end = const offset_of!(Step, end),
);

/// The steps lie one behind the other.
const _: () = assert!(size_of::<Plan>() == size_of::<u32>() + Plan::STEPS * size_of::<Step>());

/// The constants' names are those of the chip that this is built for.
const _: &Memory = &MEMORY;
