package verify

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/leaf"
	"enclaveos/client-go/policy"
)

// lviFences is the advisory that the image cannot do without.
const lviFences = "INTEL-SA-00334"

// enclave judges code and platform: debug, measurement, status, advisories.
func (j *judgement) enclave() {
	p := j.policy
	debug := j.verified.Report.Debug()
	j.note(CheckDebug, !debug || p.Enclave.AllowDebug, fmt.Sprint(debug), fmt.Sprint(p.Enclave.AllowDebug),
		"Everything in a debug enclave can be read from outside: launch the enclave without DEBUG.")
	j.measurement()
	status := j.TCB.Status
	j.note(CheckTCBStatus, policy.Accepts(p.TCB.Statuses, status, j.now), status, untils(p.TCB.Statuses),
		"The platform's TCB status is "+status+", which the policy does not accept (any longer): update its firmware and microcode, or accept the status in `tcb.statuses`, for a while with `until`.")
	j.advisories()
}

func (j *judgement) measurement() {
	wanted, report := j.policy.Enclave, &j.verified.Report
	var found, want, wrong []string
	if wanted.MRENCLAVE != nil {
		found = append(found, fmt.Sprintf("mrenclave %x", report.MRENCLAVE))
		want = append(want, "mrenclave "+list(wanted.MRENCLAVE))
		if !slices.Contains(wanted.MRENCLAVE, report.MRENCLAVE) {
			wrong = append(wrong, "MRENCLAVE is not one of the policy's: this is another image, or another policy page in it. Compare it with what your own build of the image says; if this is the image you mean, put its MRENCLAVE into `enclave.mrenclave`.")
		}
	}
	if wanted.MRSIGNER != nil {
		found = append(found, fmt.Sprintf("mrsigner %x, product %d, version %d", report.MRSIGNER, report.ISVProdID, report.ISVSVN))
		want = append(want, fmt.Sprintf("mrsigner %s, product %d, version at least %d", list(wanted.MRSIGNER), wanted.ISVProdID, wanted.MinISVSVN))
		switch {
		case !slices.Contains(wanted.MRSIGNER, report.MRSIGNER):
			wrong = append(wrong, "MRSIGNER is not one of the policy's: somebody else signed this image. Take the one that your signer published, or name this signer in `enclave.mrsigner`.")
		case report.ISVProdID != wanted.ISVProdID:
			wrong = append(wrong, "ISVPRODID differs: this is another product of that signer; compare `enclave.isv_prod_id`.")
		case report.ISVSVN < wanted.MinISVSVN:
			wrong = append(wrong, "ISVSVN is lower than the policy allows: this image is older; the server has to be updated.")
		}
	}
	j.note(CheckMeasurement, len(wrong) == 0, strings.Join(found, "; "), strings.Join(want, "; "), strings.Join(wrong, " "))
}

func (j *judgement) advisories() {
	accepted := j.policy.TCB.Advisories
	var refused []string
	for _, advisory := range j.TCB.Advisories {
		if !policy.Accepts(accepted, advisory, j.now) {
			refused = append(refused, advisory)
		}
	}
	message := fmt.Sprintf("%s of the platform's TCB level not accepted (any longer): update the platform, or list what does not matter here in `tcb.advisories`.", strings.Join(refused, ", "))
	if slices.Contains(refused, lviFences) {
		message += " Mind " + lviFences + " (load value injection): the image is built without LVI fences, so on such a platform other code on the machine could read the enclave's secrets."
	}
	j.note(CheckAdvisories, len(refused) == 0, strings.Join(j.TCB.Advisories, ", "), untils(accepted), message)
}

func untils(list []policy.Until) string {
	var texts []string
	for _, entry := range list {
		text := entry.Name
		if !entry.Until.IsZero() {
			text += " until " + stamp(entry.Until)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// fresh judges tier and age.
func (j *judgement) fresh() {
	least := j.policy.Freshness.MinTier
	message := fmt.Sprintf("The evidence is of tier %s: connect at tier %s, which the policy wants.", j.Tier, least)
	if _, offline := j.presented.(*Document); offline {
		message = "An evidence document has tier certificate, because it was made for no client in particular: judge it by a policy with `freshness.min_tier = \"certificate\"`, or connect to the enclave."
	}
	j.note(CheckTier, *j.Tier >= least, j.Tier.String(), least.String(), message)
	if *j.Tier != policy.Certificate {
		return
	}
	age, most := j.leaf.Age(j.now), j.policy.Freshness.MaxAge
	message = "The evidence is older than the policy allows: ask the enclave anew, or raise `freshness.max_age_seconds`."
	if age < 0 {
		message = "The certificate is from the future: this clock is slow, or that of the enclave's host is fast. Set both by NTP."
	}
	j.note(CheckAge, age <= most+leaf.Skew && age >= -leaf.Skew, age.String(), "at most "+most.String(),
		message)
}

// app judges what the connection is for.
func (j *judgement) app() {
	wanted := j.policy.App
	if wanted == nil {
		return
	}
	var there []string
	for _, app := range j.Apps {
		there = append(there, app.Name)
	}
	app := j.leaf.Named(wanted.Name)
	if !j.note(CheckApp, app != nil, strings.Join(there, ", "), wanted.Name, "The certificate does not name this app: it is not loaded, or this is the certificate of another app. Load it, or connect with its hostname.") {
		return
	}
	if wanted.CodeHashes != nil {
		j.note(CheckCodeHash, slices.Contains(wanted.CodeHashes, app.CodeHash), fmt.Sprintf("%x", app.CodeHash), list(wanted.CodeHashes),
			"The app runs other code than the policy accepts: it was replaced. If this is the code you mean, put its hash into `app.code_hashes`.")
	}
	if wanted.KeySource != "" {
		found, message := "", "Only the app's own certificate says where its key comes from: connect with its hostname."
		if own := j.leaf.App; own != nil {
			found, message = own.KeySource, "The app's data is under another key than the policy accepts: load it again with the right key."
		}
		accepted := found == wanted.KeySource || wanted.KeySource == "byok" && strings.HasPrefix(found, "byok:")
		j.note(CheckKeySource, accepted, found, wanted.KeySource, message)
	}
}

// configuration judges the settings.
func (j *judgement) configuration() {
	wanted := j.policy.Configuration
	document, offline := j.presented.(*Document)
	if wanted == nil && !offline {
		return
	}
	found := fmt.Sprintf("root %x", j.leaf.ConfigurationRoot)
	var want, wrong []string
	ask := func(holds bool, what, message string) {
		want = append(want, what)
		if !holds {
			wrong = append(wrong, message)
		}
	}
	if m := j.context.Manifest; m != nil {
		ask(j.belongs(m), "manifest of this certificate", "The manifest does not lead to the root in the certificate: it is of another configuration. Ask the enclave for both anew.")
	}
	if offline {
		ask(j.provesCA(document.CAProof), "the enclave's own CA", "`ca_proof` does not prove "+CALeaf+" under the root in the certificate, or the second certificate is not that one: the document was changed on its way. Ask the enclave for another.")
	}
	if wanted != nil && wanted.Root != nil {
		ask(slices.Contains(wanted.Root, j.leaf.ConfigurationRoot), "root "+list(wanted.Root), "The configuration root is not one of the policy's: something in the enclave is configured otherwise. `enclave-os proof` lists its settings; if they are what you want, put the root into `configuration.root`.")
	}
	if wanted != nil && wanted.AppRoot != nil {
		root, known := j.appRoot()
		found += fmt.Sprintf(", app root %x", root)
		ask(known && slices.Contains(wanted.AppRoot, root), "app root "+list(wanted.AppRoot), appRootMessage(known))
	}
	if wanted != nil {
		for _, name := range sorted(wanted.Leaves) {
			hash, known := j.setting(name)
			message := fmt.Sprintf("%s has another value than the policy accepts; `enclave-os proof %s` shows it. If it is what you want, put its hash into `configuration.leaves`.", name, name)
			if !known {
				message = fmt.Sprintf("%s was not shown: it is mistyped, or neither a manifest nor a proof that leads to the root in the certificate has it. Ask the enclave anew (/.enclave/v1/proofs/%s).", name, name)
			}
			found += fmt.Sprintf(", %s %x", name, hash)
			ask(known && slices.Contains(wanted.Leaves[name], hash), name+" "+list(wanted.Leaves[name]), message)
		}
	}
	j.note(CheckConfiguration, len(wrong) == 0, found, strings.Join(want, "; "), strings.Join(wrong, " "))
}

func appRootMessage(known bool) string {
	if known {
		return "The app is configured otherwise than the policy accepts; if that is what you want, put its root into `configuration.app_root`."
	}
	return "The app's configuration root is in its own certificate only: connect with its hostname, or get the manifest and name the app in [app]."
}

// belongs says whether the manifest is that of the certificate: the whole one, or the app's own.
func (j *judgement) belongs(m *configuration.Manifest) bool {
	return m.Root == j.leaf.ConfigurationRoot || j.leaf.App != nil && m.Root == j.leaf.App.ConfigurationRoot
}

// provesCA says whether the enclave's CA in the chain is the one of its configuration: of that certificate the
// leaf's signature binds the key alone.
func (j *judgement) provesCA(proof *configuration.Proof) bool {
	return proof.Leaf.Name == CALeaf && proof.Verify(j.leaf.ConfigurationRoot) == nil &&
		len(j.chain) > 1 && proof.Leaf.ValueHash == sha256.Sum256(j.chain[1].Raw)
}

// appRoot is the root of the app's own tree: in its certificate, or from the whole manifest.
func (j *judgement) appRoot() (configuration.Hash, bool) {
	if j.leaf.App != nil {
		return j.leaf.App.ConfigurationRoot, true
	}
	m := j.context.Manifest
	if m == nil || j.policy.App == nil || m.Root != j.leaf.ConfigurationRoot {
		return configuration.Hash{}, false
	}
	return m.OfApp(j.policy.App.Name).Root, true
}

// setting is the value hash of a leaf that belongs to this certificate.
func (j *judgement) setting(name string) (configuration.Hash, bool) {
	if m := j.context.Manifest; m != nil && j.belongs(m) {
		own, shown := name, true
		if m.Root != j.leaf.ConfigurationRoot {
			// The app's own manifest names its settings without `app.<name>.`. Only a certificate of one app
			// has such a manifest, so there is an app.
			own, shown = strings.CutPrefix(name, "app."+j.leaf.Apps[0].Name+".")
		}
		if setting := m.Leaf(own); shown && setting != nil {
			return setting.ValueHash, true
		}
	}
	for _, proof := range j.context.Proofs {
		if proof.Leaf.Name == name && proof.Verify(j.leaf.ConfigurationRoot) == nil {
			return proof.Leaf.ValueHash, true
		}
	}
	return configuration.Hash{}, false
}

func sorted(leaves map[string][]policy.Hash) []string {
	names := make([]string, 0, len(leaves))
	for name := range leaves {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// platform judges which machine it is.
func (j *judgement) platform() {
	if wanted := j.policy.PPIDs; wanted != nil {
		ppid := j.verified.PCK.PPID
		j.note(CheckPlatform, slices.Contains(wanted, ppid), fmt.Sprintf("%x", ppid), list(wanted), "This is not one of the machines in `platform.ppids`: the connection was diverted, or the machine was replaced. If you moved it yourself, put the new PPID into the list.")
	}
}

// operator judges who vouches for the enclave's authority.
func (j *judgement) operator() {
	wanted := j.policy.OperatorCAs
	if wanted == nil {
		return
	}
	var found []policy.Hash
	for _, above := range j.chain[min(2, len(j.chain)):] {
		found = append(found, sha256.Sum256(above.Raw))
	}
	vouched := slices.ContainsFunc(found, func(h policy.Hash) bool {
		return slices.ContainsFunc(wanted, func(w policy.Hash) bool { return bytes.Equal(w[:], h[:]) })
	})
	j.note(CheckOperatorCA, vouched, list(found), list(wanted), "The enclave is not under an operator that the policy accepts: have its request signed by that CA (`enclave-os ca csr`, `ca install`).")
}
