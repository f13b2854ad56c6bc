#!/bin/sh
# Makes the certificates of the TLS tests anew; they are good from 2000 to 2120, so this is not part of any run.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/ca.conf" <<EOF
[ca]
default_ca = here
[here]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[leaf]
subjectAltName = DNS:localhost,IP:127.0.0.1
authorityKeyIdentifier = keyid
subjectKeyIdentifier = hash
EOF

# NAME EXTENSIONS END [options of openssl ca]
signed() {
    name=$1; extensions=$2; end=$3; shift 3
    : >"$work/index"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$work/csr"
    openssl ca -batch -notext -config "$work/ca.conf" -extensions "$extensions" -startdate 20000101000000Z -enddate "$end" \
        -in "$work/csr" -out "$name.crt" "$@"
}

for name in authority other-authority; do
    signed $name authority 21200101000000Z -selfsign -keyfile $name.key
done
for name in first second client; do
    signed $name leaf 21200101000000Z -cert authority.crt -keyfile authority.key
done
signed other-client leaf 21200101000000Z -cert other-authority.crt -keyfile other-authority.key
signed expired leaf 20000102000000Z -cert authority.crt -keyfile authority.key
rm -f authority.key other-authority.key
