/* What EMBED_TXTFILES makes of a file: its bytes and a 0, under a symbol. */
    .section .rodata
    .global _binary_s3ota_release_key_pem_start
_binary_s3ota_release_key_pem_start:
    .incbin RELEASE_KEY
    .byte 0
    .global _binary_s3ota_root_ca_pem_start
_binary_s3ota_root_ca_pem_start:
    .incbin ROOT_CA
    .byte 0
    .section .note.GNU-stack,"",@progbits
