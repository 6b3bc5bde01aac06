#!/usr/bin/env bash
# Makes the keys and certificates in this folder anew, with OpenSSL 3: see README.md.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Keys, as PKCS #8 in DER.
key() {
    name=$1
    shift
    openssl genpkey "$@" 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -outform DER -out "$name.key.der"
}
for bits in 1024 2048 3072 4096; do
    key "rsa-$bits" -algorithm RSA -pkeyopt "rsa_keygen_bits:$bits"
done
key p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
key p521 -algorithm EC -pkeyopt ec_paramgen_curve:P-521
key rsa-pss -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048

pem() { openssl pkey -inform DER -in "$1.key.der" -out "$work/$1.pem"; }
for key in rsa-1024 rsa-2048 rsa-3072 p256 p521 rsa-pss; do pem "$key"; done
echo 'basicConstraints=critical,CA:TRUE' >"$work/ca"
echo 'subjectAltName=DNS:bucket.s3.test' >"$work/server"

# root NAME KEY
root() {
    openssl req -x509 -new -key "$work/$2.pem" -sha256 -days 36500 -subj "/CN=$1" -addext 'keyUsage=keyCertSign' \
        -out "$work/$1.pem"
    openssl x509 -in "$work/$1.pem" -outform DER -out "$1.der"
}
# issue NAME KEY ISSUER ISSUER-KEY EXTENSIONS OPTION...
issue() {
    name=$1 key=$2 issuer=$3 issuer_key=$4 extensions=$5
    shift 5
    openssl req -new -key "$work/$key.pem" -subj "/CN=$name" -out "$work/request"
    openssl x509 -req -in "$work/request" -CA "$work/$issuer.pem" -CAkey "$work/$issuer_key.pem" -CAcreateserial \
        -days 36500 ${extensions:+-extfile "$work/$extensions"} "$@" -out "$work/$name.pem" 2>/dev/null
    openssl x509 -in "$work/$name.pem" -outform DER -out "$name.der"
}

root rsa-root rsa-2048
root p256-root p256
# The server has the P-256 key, and the RSA root's signature is what is special.
issue signed-md5 p256 rsa-root rsa-2048 server -md5
issue signed-sha1 p256 rsa-root rsa-2048 server -sha1
pss=(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest)
issue signed-pss-sha256 p256 rsa-root rsa-2048 server -sha256 "${pss[@]}"
issue signed-pss-sha384 p256 rsa-root rsa-2048 server -sha384 "${pss[@]}"
issue signed-pss-sha512 p256 rsa-root rsa-2048 server -sha512 "${pss[@]}"
issue signed-pss-short-salt p256 rsa-root rsa-2048 server -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20
issue signed-ecdsa-sha384 p256 p256-root p256 server -sha384
issue signed-ecdsa-sha512 p256 p256-root p256 server -sha512
# Authorities that must not issue: with a short key, and of the version that has no extensions.
issue rsa-1024-authority rsa-1024 rsa-root rsa-2048 ca -sha256
issue signed-rsa-1024 p256 rsa-1024-authority rsa-1024 server -sha256
issue version-1-authority rsa-3072 rsa-root rsa-2048 '' -sha256
issue signed-version-1 p256 version-1-authority rsa-3072 server -sha256
# Servers with keys that are not taken.
issue rsa-1024-server rsa-1024 rsa-root rsa-2048 server -sha256
issue p521-server p521 rsa-root rsa-2048 server -sha256
issue rsa-pss-server rsa-pss rsa-root rsa-2048 server -sha256
