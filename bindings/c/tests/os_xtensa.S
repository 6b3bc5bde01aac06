# The start of a program, and system calls, in Xtensa's windowed ABI. The number is in a2, arguments in a6, a3, a4, a5, a8, a9
# (arch/xtensa/kernel/entry.S of Linux, system_call).
	.section ".literal._start","ax",@progbits
	.p2align 2
.Lbegin:
	.long begin

	.text
	.p2align 2
	.global _start
_start:
	movi	a0, 0
	mov	a10, a1
	l32r	a8, .Lbegin
	callx8	a8

	.p2align 2
	.global call
	.type call,@function
call:
	entry	a1, 48
	# The number and five arguments are in a2 to a7, the sixth is on the caller's stack.
	mov	a10, a3
	mov	a3, a4
	mov	a4, a5
	mov	a5, a6
	mov	a8, a7
	l32i	a9, a1, 48
	mov	a6, a10
	syscall
	retw.n

	.section .note.GNU-stack,"",@progbits
