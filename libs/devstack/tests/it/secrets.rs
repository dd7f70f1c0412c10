use std::{collections::BTreeSet, fs, sync::Barrier, thread};

use quartet_devstack::secret;

#[test]
fn all_that_create_a_secret_at_once_get_the_same_one() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let secrets = directory.path().join("secrets");
        let barrier = Barrier::new(8);
        let found: BTreeSet<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        secret::load_or_create(&secrets, "events").unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(found.len(), 1);
        assert_eq!(
            fs::read_dir(&secrets).unwrap().count(),
            1,
            "no partial file is left"
        );
    }
}
