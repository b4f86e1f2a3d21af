//! Any sequence of operations does what a map of paths would, restarts and crashes included.

use super::*;

/// What the model knows of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    File(Vec<u8>),
    Directory,
}

#[derive(Clone, Debug)]
enum Action {
    Write { path: usize, at: usize, length: usize },
    Append { path: usize, length: usize },
    Resize { path: usize, to: usize },
    Make { path: usize },
    Unlink { path: usize },
    RemoveDirectory { path: usize },
    Rename { from: usize, to: usize },
    Sync,
    Restart,
    Crash,
}

const PATHS: [&str; 9] = ["a", "b", "c", "a/x", "a/y", "b/x", "a/x/1", "b/x/1", "b/x/2"];

fn action() -> impl Strategy<Value = Action> {
    let path = 0..PATHS.len();
    let size = prop_oneof![0..10_usize, 0..3 * CHUNK, Just(CHUNK), Just(2 * CHUNK)];
    prop_oneof![
        4 => (path.clone(), size.clone(), size.clone())
            .prop_map(|(path, at, length)| Action::Write { path, at, length }),
        2 => (path.clone(), size.clone()).prop_map(|(path, length)| Action::Append { path, length }),
        3 => (path.clone(), size).prop_map(|(path, to)| Action::Resize { path, to }),
        4 => path.clone().prop_map(|path| Action::Make { path }),
        2 => path.clone().prop_map(|path| Action::Unlink { path }),
        2 => path.clone().prop_map(|path| Action::RemoveDirectory { path }),
        4 => (path.clone(), path).prop_map(|(from, to)| Action::Rename { from, to }),
        1 => Just(Action::Sync),
        1 => Just(Action::Restart),
        1 => Just(Action::Crash),
    ]
}

/// A filesystem as simple as can be: paths and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model(BTreeMap<String, Known>);

impl Model {
    fn parent_is_directory(&self, path: &str) -> bool {
        path.rsplit_once('/').is_none_or(|(parent, _)| self.0.get(parent) == Some(&Known::Directory))
    }

    fn is_empty_directory(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.0.get(path) == Some(&Known::Directory) && !self.0.keys().any(|other| other.starts_with(&below))
    }

    /// The file at `path`, made if there is none; `None` if that cannot be.
    fn file(&mut self, path: &str) -> Option<&mut Vec<u8>> {
        if !self.parent_is_directory(path) {
            return None;
        }
        match self.0.entry(path.to_owned()).or_insert_with(|| Known::File(Vec::new())) {
            Known::File(bytes) => Some(bytes),
            Known::Directory => None,
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(moved) = self.0.get(from).cloned() else { return false };
        if !self.parent_is_directory(to) || to.starts_with(&format!("{from}/")) {
            return false;
        }
        if from == to {
            return true;
        }
        let free = match (&moved, self.0.get(to)) {
            (_, None) | (Known::File(_), Some(Known::File(_))) => true,
            (Known::Directory, Some(Known::Directory)) => self.is_empty_directory(to),
            _ => false,
        };
        if free {
            let below = format!("{from}/");
            let all: Vec<String> = self.0.keys().filter(|path| path.starts_with(&below)).cloned().collect();
            self.0.remove(to);
            for path in all {
                if let Some(known) = self.0.remove(&path) {
                    self.0.insert(format!("{to}/{}", &path[below.len()..]), known);
                }
            }
            self.0.remove(from);
            self.0.insert(to.to_owned(), moved);
        }
        free
    }
}

async fn walk(call: &CallFiles) -> Model {
    let mut model = Model::default();
    let mut todo = vec![".".to_owned()];
    while let Some(directory) = todo.pop() {
        for name in call.names(&directory).await.unwrap() {
            let path = if directory == "." { name } else { format!("{directory}/{name}") };
            let entry = call.run(|tx| tree::existing(tx, FileId::ROOT, &path)).await.unwrap();
            let known = match entry.kind {
                Kind::File => Known::File(call.read_file(&path).await.unwrap()),
                Kind::Directory => {
                    todo.push(path.clone());
                    Known::Directory
                }
            };
            model.0.insert(path, known);
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_like_the_model(actions in prop::collection::vec(action(), 1..60)) {
        block_on(async {
            let mut fake = Fake::new();
            let mut call = fake.restart();
            let (mut model, mut durable) = (Model::default(), Model::default());
            let how = tree::Open { create: true, write: true, ..Default::default() };
            for (n, action) in actions.into_iter().enumerate() {
                match action {
                    Action::Write { path, at, length } => {
                        let bytes = pattern(length, n);
                        let file = call.open_file_or_error(PATHS[path], how).await;
                        assert_eq!(file.is_ok(), model.file(PATHS[path]).is_some());
                        if let (Ok(file), Some(known)) = (file, model.file(PATHS[path])) {
                            call.write_at(file.id, At::Offset(at as u64), &bytes).await.unwrap();
                            if length > 0 {
                                known.resize(known.len().max(at + length), 0);
                                known[at..at + length].copy_from_slice(&bytes);
                            }
                        }
                    }
                    Action::Append { path, length } => {
                        let bytes = pattern(length, n);
                        if let (Ok(file), Some(known)) =
                            (call.open_file_or_error(PATHS[path], how).await, model.file(PATHS[path]))
                        {
                            call.write_at(file.id, At::End, &bytes).await.unwrap();
                            known.extend_from_slice(&bytes);
                        }
                    }
                    Action::Resize { path, to } => {
                        if let (Ok(file), Some(known)) =
                            (call.open_file_or_error(PATHS[path], how).await, model.file(PATHS[path]))
                        {
                            call.run(|tx| chunks::resize(tx, file.id, to as u64)).await.unwrap();
                            known.resize(to, 0);
                        }
                    }
                    Action::Make { path } => {
                        let possible = model.parent_is_directory(PATHS[path]) && !model.0.contains_key(PATHS[path]);
                        assert_eq!(call.make_directory(PATHS[path]).await.is_ok(), possible);
                        if possible {
                            model.0.insert(PATHS[path].to_owned(), Known::Directory);
                        }
                    }
                    Action::Unlink { path } => {
                        let possible = matches!(model.0.get(PATHS[path]), Some(Known::File(_)));
                        assert_eq!(call.unlink(PATHS[path]).await.is_ok(), possible);
                        if possible {
                            model.0.remove(PATHS[path]);
                        }
                    }
                    Action::RemoveDirectory { path } => {
                        let possible = model.is_empty_directory(PATHS[path]);
                        assert_eq!(call.remove_directory(PATHS[path]).await.is_ok(), possible);
                        if possible {
                            model.0.remove(PATHS[path]);
                        }
                    }
                    Action::Rename { from, to } => {
                        let done = call.rename(PATHS[from], PATHS[to]).await.is_ok();
                        assert_eq!(done, model.rename(PATHS[from], PATHS[to]));
                    }
                    Action::Sync => {
                        call.sync().await.unwrap();
                        durable = model.clone();
                    }
                    Action::Restart => {
                        drop(call);
                        call = fake.restart();
                        durable = model.clone();
                    }
                    Action::Crash => {
                        let records = fake.records.lock().unwrap().clone();
                        let ids = AtomicU64::new(fake.ids.load(Ordering::Relaxed));
                        fake = Arc::new(Fake { records: Mutex::new(records), ids, ..Default::default() });
                        call = fake.restart();
                        model = durable.clone();
                    }
                }
            }
            assert_eq!(walk(&call).await, model);
            call.sync().await.unwrap();
            assert_eq!(walk(&fake.restart()).await, model);
            // Nothing is left over: one inode for each path and the root, no chunk without a file.
            let files = model.0.values().filter_map(|known| match known {
                Known::File(bytes) => Some(bytes.len().div_ceil(CHUNK)),
                Known::Directory => None,
            });
            assert!(fake.keys(b'c') <= files.sum());
            assert!(fake.keys(b'i') <= model.0.len() + 1);
            assert_eq!(fake.keys(b'o'), 0);
        });
    }
}

impl CallFiles {
    async fn open_file_or_error(&self, path: &str, how: tree::Open) -> Result<OpenFile, FsError> {
        let entry = self.run(|tx| tree::existing(tx, FileId::ROOT, path)).await;
        if matches!(entry, Ok(Entry { kind: Kind::Directory, .. })) {
            assert_eq!(
                code(self.run(|tx| tree::open(tx, FileId::ROOT, path, how, FileId([9; 16]))).await),
                ErrorCode::IsDirectory
            );
            return Err(ErrorCode::IsDirectory.into());
        }
        self.open_file(path, how).await
    }
}
