//! The units for systemd that are shipped.

use std::{fs, path::Path, process::Command};

use crate::support::tools;

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

/// What must stand in the service, as a section and a line of it.
const EXPECTED: &[(&str, &str)] = &[
    ("[Service]", "Type=notify"),
    ("[Service]", "ExecReload=/bin/kill -HUP $MAINPID"),
    ("[Service]", "NoNewPrivileges=yes"),
    ("[Service]", "ProtectSystem=strict"),
    ("[Service]", "PrivateDevices=yes"),
    ("[Service]", "MemoryDenyWriteExecute=yes"),
    ("[Service]", "SystemCallFilter=@system-service"),
    ("[Service]", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"),
];

#[test]
fn the_service_is_hardened() {
    let text = fs::read_to_string(shipped("pierhead.service")).unwrap();
    for (section, line) in EXPECTED {
        let behind = text.split_once(section).unwrap_or_else(|| panic!("no {section}")).1;
        let within = behind.split("\n[").next().unwrap_or_default();
        assert!(within.lines().any(|found| found == *line), "{section} {line}");
    }
}

#[test]
fn systemd_understands_the_units() {
    if !tools::present(&["systemd-analyze"]) {
        return;
    }
    // The program is not installed where a package would put it, and it is verified that there is one.
    let directory = tempfile::tempdir().unwrap();
    for name in ["pierhead.service", "pierhead.socket"] {
        let text = fs::read_to_string(shipped(name)).unwrap();
        let text = text.replace("/usr/bin/pierhead", env!("CARGO_BIN_EXE_pierhead"));
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut verify = Command::new(tools::path("systemd-analyze"));
    verify
        .arg("verify")
        .arg("--man=no")
        .args(["pierhead.service", "pierhead.socket"].map(|name| directory.path().join(name)));
    let output = verify.env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display())).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // What is said of other units of the machine is no fault of ours.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("pierhead")).collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
    assert!(output.status.success() || !said.is_empty(), "{said}");
}
