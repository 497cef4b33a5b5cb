//! What is made once for an instance, and unmade with it: the pause container whose network its tasks share, with our relay
//! in it; and the deletion of the instance's folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::relay::LISTENING;
use super::{Inner, LABEL_FOLDER, LABEL_INSTANCE, LABEL_SANDBOX, LABEL_USER, behind, cannot, mount};

/// An image with nothing in it; what a pause container runs is mounted into it.
const EMPTY_IMAGE: &str = "seqstack/empty:1";
/// The user of pause containers: nobody.
const PAUSE_USER: &str = "65534:65534";

impl Inner {
    // The instance's network: a pause container in which our relay listens.
    pub(super) fn network(&self, instance: &str) -> Result<(), String> {
        let lock = {
            let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(networks.entry(instance.to_owned()).or_default())
        };
        let _one_at_a_time = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.book.instance_ended(instance) {
            return Err("CannotCreateContainerError: the instance was terminated".to_owned());
        }
        let name = self.pause(instance);
        match self.inspect(&name).map_err(cannot("Create"))? {
            Some(state) if state.status == "running" => return Ok(()),
            Some(_) => self.remove(&name),
            None => {}
        }
        self.empty_image().map_err(cannot("Create"))?;
        let arguments = self.pause_arguments(instance, &name)?;
        self.cli.run(&arguments).map_err(cannot("Create"))?;
        if let Err(complaint) = self.cli.run(["start", &name]) {
            self.remove(&name);
            return Err(cannot("Create")(complaint));
        }
        let started = Instant::now();
        loop {
            let said = self.cli.run(["logs", &name]).map_err(cannot("Create"))?;
            if said.lines().any(|line| line == LISTENING) {
                return Ok(());
            }
            let runs = self.inspect(&name).map_err(cannot("Create"))?.is_some_and(|state| state.status == "running");
            if !runs || started.elapsed() > Duration::from_secs(20) {
                self.remove(&name);
                return Err(format!("CannotCreateContainerError: the relay to the sandbox does not listen: {said}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn pause_arguments(&self, instance: &str, name: &str) -> Result<Vec<String>, String> {
        let mut arguments: Vec<String> = ["create", "--pull", "never", "--name", name].map(str::to_owned).into();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        self.labels(instance).into_iter().for_each(|label| add("--label", label));
        add("--network", "none".to_owned());
        add("--user", PAUSE_USER.to_owned());
        add("--cap-drop", "ALL".to_owned());
        add("--security-opt", "no-new-privileges".to_owned());
        add("--security-opt", "label=disable".to_owned());
        let folder = self.relay.socket.parent().unwrap_or(Path::new("/"));
        add("--mount", mount(folder, Path::new("/run/seqstack"), false)?);
        for option in self.own_program()? {
            add("--mount", mount(&option.0, &option.1, true)?);
        }
        add("--env", "LD_LIBRARY_PATH=/seqstack-libraries".to_owned());
        add("--entrypoint", "/seqstack".to_owned());
        let socket = Path::new("/run/seqstack").join(self.relay.socket.file_name().unwrap_or_default());
        let listen = format!("127.0.0.1:{}", self.relay.port);
        arguments.extend([EMPTY_IMAGE, "sandbox-relay", "--listen", &listen, "--to"].map(str::to_owned));
        arguments.push(socket.display().to_string());
        Ok(arguments)
    }

    // Our own binary and what it is linked to, as (here, in the container).
    fn own_program(&self) -> Result<Vec<(PathBuf, PathBuf)>, String> {
        let mut files = vec![(self.exe.clone(), PathBuf::from("/seqstack"))];
        // A static binary is "not a dynamic executable": there is nothing to add.
        let listed = Command::new("ldd").arg(&self.exe).output();
        let listed = listed.map_err(|error| format!("CannotCreateContainerError: ldd: {error}"))?;
        for (name, path) in libraries(&String::from_utf8_lossy(&listed.stdout)) {
            // The loader is asked for by its whole path, everything else by its name.
            let target = if name.starts_with('/') { name } else { format!("/seqstack-libraries/{name}") };
            files.push((PathBuf::from(path), PathBuf::from(target)));
        }
        Ok(files)
    }

    fn empty_image(&self) -> Result<(), String> {
        if self.cli.run(["image", "inspect", "--format", "{{.Id}}", EMPTY_IMAGE]).is_ok() {
            return Ok(());
        }
        let mut command = self.cli.command();
        command.args(["import", "-", EMPTY_IMAGE]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        if let Some(mut stdin) = child.stdin.take() {
            // An archive that ends at once.
            stdin.write_all(&[0; 10240]).map_err(|error| error.to_string())?;
        }
        let done = child.wait_with_output().map_err(|error| error.to_string())?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()) }
    }

    /// Whose a container is: this sandbox's, of this folder, of this user.
    pub(super) fn labels(&self, instance: &str) -> [String; 4] {
        [
            format!("{LABEL_SANDBOX}={}", self.id),
            format!("{LABEL_INSTANCE}={instance}"),
            format!("{LABEL_FOLDER}={}", self.book.folder().display()),
            format!("{LABEL_USER}={}", rustix::process::geteuid().as_raw()),
        ]
    }

    /// Removes the containers that sandboxes of this user have left whose folder is gone: nobody else ever will.
    pub(super) fn sweep(&self) {
        let of_user = format!("label={LABEL_USER}={}", rustix::process::geteuid().as_raw());
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL_FOLDER}\"}}}}");
        let found = match self.cli.run(["ps", "--all", "--filter", &of_user, "--format", &format]) {
            Ok(found) => found,
            Err(complaint) => return tracing::warn!(complaint, "what earlier sandboxes left was not looked for"),
        };
        for (container, folder) in found.lines().filter_map(|line| line.split_once(' ')) {
            // A folder that cannot be looked at is not known to be gone.
            if folder.starts_with('/') && Path::new(folder).try_exists().is_ok_and(|exists| !exists) {
                tracing::info!(container, folder, "a container is removed: the folder of its sandbox is gone");
                self.remove(container);
            }
        }
    }

    pub(super) fn delete_behind(self: &Arc<Self>, instance: String) {
        let inner = Arc::clone(self);
        behind("delete an instance", move || {
            if let Err(complaint) = inner.delete(&instance) {
                tracing::error!(complaint, instance, "an instance could not be deleted; the next sandbox tries again");
            }
        });
    }

    fn delete(&self, instance: &str) -> Result<(), String> {
        // First out of sight: should we be killed in between, the name says what is left to do.
        let aside = self.book.set_aside(instance).map_err(|error| error.to_string())?;
        let lock = {
            let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(networks.entry(instance.to_owned()).or_default())
        };
        let one_at_a_time = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sandbox = format!("label={LABEL_SANDBOX}={}", self.id);
        let of_instance = format!("label={LABEL_INSTANCE}={instance}");
        let filters = ["ps", "--all", "--quiet", "--filter", &of_sandbox, "--filter", &of_instance];
        let found = self.cli.run(filters)?;
        // Tasks before the network that they are in: Podman keeps a container that others depend on.
        let pause = self.pause(instance);
        let pause_id = self.cli.run(["container", "inspect", "--format", "{{.Id}}", &pause]).unwrap_or_default();
        for container in found.lines().filter(|id| !pause_id.starts_with(*id)) {
            self.remove(container);
        }
        self.remove(&pause);
        drop(one_at_a_time);
        let Some(aside) = aside else { return Ok(()) };
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.delete_as_root(&aside),
            done => done.map_err(|error| error.to_string()),
        }
    }

    // Tasks may have written as users whose files we may not delete; a container's root may.
    fn delete_as_root(&self, folder: &Path) -> Result<(), String> {
        self.empty_image()?;
        let mut arguments: Vec<String> =
            ["run", "--rm", "--pull", "never", "--network", "none"].map(str::to_owned).into();
        arguments.extend(
            ["--security-opt", "label=disable", "--env", "LD_LIBRARY_PATH=/seqstack-libraries"].map(str::to_owned),
        );
        arguments.extend(["--mount".to_owned(), mount(folder, Path::new("/gone"), false)?]);
        for (source, target) in self.own_program()? {
            arguments.extend(["--mount".to_owned(), mount(&source, &target, true)?]);
        }
        arguments.extend(["--entrypoint", "/seqstack", EMPTY_IMAGE, "sandbox-remove", "/gone"].map(str::to_owned));
        self.cli.run(&arguments)?;
        fs::remove_dir(folder).map_err(|error| error.to_string())
    }
}

// What `ldd` prints, as (name, path): `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and the loader `/lib64/ld-….so.2 (0x…)`.
fn libraries(listed: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in listed.lines().map(str::trim) {
        let (name, rest) = line.split_once(" => ").unwrap_or((line, line));
        let path = rest.split(" (0x").next().unwrap_or(rest);
        if path.starts_with('/') {
            found.push((name.split(" (0x").next().unwrap_or(name).to_owned(), path.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_prints() {
        let listed =
            "\tlinux-vdso.so.1 (0x00007ff)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x0)\n";
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            libraries(listed),
            [pair("libc.so.6", "/lib/x/libc.so.6"), pair("/lib64/ld.so.2", "/lib64/ld.so.2")]
        );
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }
}
