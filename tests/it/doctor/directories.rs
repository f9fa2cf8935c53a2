//! Directories, and memory.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use crate::{
    doctor::{Examined, examine, readable},
    support::tools,
};

/// Nobody in particular.
const NOBODY: u32 = 65534;

const TREE: &str = "docker/registry/v2/repositories";

fn examine_directory(program: Command, root: &Path, more: &str) -> Examined {
    examine(program, &format!("  filesystem: {{rootdirectory: {}}}\n{more}", root.display()), &[])
}

fn ours() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pierhead"))
}

#[test]
fn a_directory_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let examined = examine_directory(ours(), directory.path(), "");
    examined.passes();
    for step in ["directory", "write", "create only", "read", "parts", "join", "list", "delete"] {
        examined.says("ok", step, "");
    }
    assert!(examined.text.contains("space"), "{}", examined.text);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_directory_that_is_still_to_be_made() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/b");
    let examined = examine_directory(ours(), &root, "");
    examined.passes().says("warn", "directory", &format!("{} is not there", root.display()));
    assert!(!directory.path().join("a").exists());
}

#[test]
fn a_file_in_the_place_of_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("file");
    fs::write(&root, "").unwrap();
    examine_directory(ours(), &root, "").says("FAIL", "directory", "is no directory").fails();
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink("/", root.join("docker")).unwrap();
    examine_directory(ours(), &root, "").says("FAIL", "directory", "docker is a symbolic link").fails();
}

#[test]
fn a_directory_of_somebody_else() {
    if !tools::root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    readable(directory.path());
    let program = directory.path().join("pierhead");
    fs::copy(env!("CARGO_BIN_EXE_pierhead"), &program).unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join(TREE)).unwrap();
    let nobody = || {
        let mut command = Command::new(&program);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    let examined = examine_directory(nobody(), &root, "");
    let owned = format!("{} belongs to 0:0 with mode 0755, and this process is {NOBODY}:{NOBODY}", root.display());
    examined.says("FAIL", "directory", &owned).fails();

    // The directories above are open, and the one that the registry before made is not.
    for path in ["", "docker", "docker/registry", "docker/registry/v2"] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let examined = examine_directory(nobody(), &root, "");
    examined.says("FAIL", "directory", &format!("{} belongs to 0:0", root.join(TREE).display())).fails();
    let read_only = "  maintenance: {readonly: {enabled: true}}\n";
    examine_directory(nobody(), &root, read_only).passes().says("ok", "directory", "may be used");
    let missing = directory.path().join("missing");
    examine_directory(nobody(), &missing, "").says("FAIL", "directory", "belongs to 0:0").fails();
}

#[test]
fn nothing_is_to_be_tried_in_memory() {
    let examined = examine(ours(), "  inmemory: {}\n", &[]);
    examined.passes().says("ok", "storage", "nothing to try");
}
