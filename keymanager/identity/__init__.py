"""Who belongs to a system: the certificate authority, enrolment by evidence, revocation."""
