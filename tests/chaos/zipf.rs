//! Rows drawn from a Zipf distribution, as real traffic tends to be, against the oracle; every hit accounted for.
