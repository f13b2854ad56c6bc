package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const valid = 365 * 24 * time.Hour

// identity is one certificate wanted: a server's if it has hosts, a client's otherwise.
type identity struct {
	Name         string   `json:"name"`
	CommonName   string   `json:"common_name"`
	Organization []string `json:"organization"`
	Hosts        []string `json:"hosts"`
}

// issuer is an authority that lives as long as the cluster it is made for.
type issuer struct {
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// certificates reads a list of identities and writes NAME.crt and NAME.key of each into the folder its argument names,
// with the authority's ca.crt and ca.key, and the pair accounts.key and accounts.pub that signs ServiceAccounts' tokens.
func certificates() {
	if err := issue(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "certificates:", err)
		os.Exit(1)
	}
}

func issue(folder string) error {
	var wanted []identity
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		return err
	}
	authority, err := newIssuer(folder)
	if err != nil {
		return err
	}
	for _, one := range wanted {
		if err := authority.sign(one); err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
	}
	return writeAccountKeys(folder)
}

func newIssuer(folder string) (*issuer, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := newTemplate(pkix.Name{CommonName: "penstock-tests"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.SubjectKeyId = template.SerialNumber.Bytes() // what it signs refers to it, and strict clients look
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	made := &issuer{folder: folder, certificate: template, key: key}
	return made, made.write("ca", template, key)
}

func (i *issuer) sign(one identity) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template := newTemplate(pkix.Name{CommonName: one.CommonName, Organization: one.Organization})
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, host := range one.Hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return i.write(one.Name, template, key)
}

func (i *issuer) write(name string, template *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, template, i.certificate, key.Public(), i.key)
	if err != nil {
		return err
	}
	if err := i.writeBlock(name+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return i.writeBlock(name+".key", "EC PRIVATE KEY", private)
}

func (i *issuer) writeBlock(name, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(i.folder, name), text, 0o600)
}

func writeAccountKeys(folder string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	files := &issuer{folder: folder}
	if err := files.writeBlock("accounts.key", "EC PRIVATE KEY", private); err != nil {
		return err
	}
	return files.writeBlock("accounts.pub", "PUBLIC KEY", public)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newTemplate(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err)
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(valid)}
}
