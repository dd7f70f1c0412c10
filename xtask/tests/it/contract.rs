use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::release::tree;
use crate::sandbox::Sandbox;

/// In place of the cargo of the release: its builds say what they are, as do its tests.
const CARGO: &str = r#"#!/bin/sh
programs="$CARGO_TARGET_DIR/debug"
case "$*" in
build*)
  mkdir -p "$programs"
  for service in core links; do
    # cargo has another link to the same file.
    printf '#!/bin/sh\necho released $1\n' >"$programs/own-$service"
    chmod +x "$programs/own-$service"
    ln -f "$programs/own-$service" "$programs/quartet-$service"
  done ;;
*--no-run) ;;
test*)
  for service in core links; do
    "$programs/own-$service" own
    for verb in migrate serve; do echo "$service: $("$programs/quartet-$service" $verb)"; done
  done
  echo "words: $*" ;;
esac
"#;

fn contract(sandbox: &Sandbox, words: &[&str]) -> String {
    let words = [&["contract", "core", "--previous", "HEAD"], words].concat();
    let mut run = sandbox.start(&words);
    let output = run.wait_for("core keeps its contract with HEAD");
    let (status, errors) = run.end();
    assert!(status.success(), "{errors}");
    output
}

fn program(sandbox: &Sandbox, path: &str, text: &str) {
    let path = sandbox.root().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn each_step_replaces_one_service_and_the_next_run_starts_from_the_release() {
    let sandbox = tree("# Notes\n");
    fs::create_dir_all(sandbox.root().join("db/schemas/core")).unwrap();
    program(&sandbox, "bin/cargo", CARGO);
    let today = "#!/bin/sh\necho today $1\n";
    program(&sandbox, "target/debug/quartet-core", today);
    let links = "links: released migrate\nlinks: released serve\n";
    for _ in 0..2 {
        let output = contract(&sandbox, &[]);
        let (binary, schema) = output.split_once("\nschema: ").unwrap();
        let core = "core: today migrate\ncore: today serve\n";
        assert!(binary.contains(core) && binary.contains(links), "{binary}");
        assert!(binary.contains(" --skip "), "{binary}");
        let core = "core: today migrate\ncore: released serve\n";
        assert!(schema.contains(core) && schema.contains(links), "{schema}");
        assert_eq!(output.matches("released own\n").count(), 4, "{output}");
    }
    let output = contract(&sandbox, &["--step", "baseline"]);
    let core = "core: released migrate\ncore: released serve\n";
    assert!(output.contains(core) && output.contains(links), "{output}");
}
