//! Raw -> Config -> Plan.
