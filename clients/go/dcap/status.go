package dcap

// Status is how up to date a platform or a quoting enclave is, in Intel's words.
type Status string

// The statuses of SGX.
const (
	UpToDate                          Status = "UpToDate"
	SWHardeningNeeded                 Status = "SWHardeningNeeded"
	ConfigurationNeeded               Status = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded Status = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                         Status = "OutOfDate"
	OutOfDateConfigurationNeeded      Status = "OutOfDateConfigurationNeeded"
	Revoked                           Status = "Revoked"
)

// Acceptable lists what a policy may accept: everything but Revoked.
func Acceptable() []Status {
	return []Status{
		UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded,
		OutOfDate, OutOfDateConfigurationNeeded,
	}
}

// ofTCBInfo says whether the status may stand in TCB info.
func (s Status) ofTCBInfo() bool {
	switch s {
	case UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded,
		OutOfDate, OutOfDateConfigurationNeeded, Revoked:
		return true
	}
	return false
}

// ofQEIdentity says whether the status may stand in a QE identity.
func (s Status) ofQEIdentity() bool {
	return s.ofTCBInfo() && s != SWHardeningNeeded && s != ConfigurationAndSWHardeningNeeded
}

// converge joins the status of a platform with that of its quoting enclave: a quoting enclave that
// is out of date or revoked makes the platform so, anything else leaves it as it is (as Intel's
// quote verification library does).
func (s Status) converge(qe Status) Status {
	switch {
	case qe == Revoked:
		return Revoked
	case qe != OutOfDate:
		return s
	case s == UpToDate || s == SWHardeningNeeded:
		return OutOfDate
	case s == ConfigurationNeeded || s == ConfigurationAndSWHardeningNeeded:
		return OutOfDateConfigurationNeeded
	}
	return s
}
