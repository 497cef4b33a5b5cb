//! How a variable reaches a container: in a file of lines, or by name from the environment of the engine's command.

/// The longest line that Docker reads in a file of variables, with room for the name.
/// <https://pkg.go.dev/bufio#Scanner>
const ENVIRONMENT_LINE: usize = 60_000;

/// Whether a line of a file of variables can hold it.
pub(super) fn in_a_line(value: &str) -> bool {
    !value.contains(['\n', '\r']) && value.len() <= ENVIRONMENT_LINE
}

/// Whether it goes in the environment of the engine's own command; some variables would change what that one does.
pub(super) fn by_command(name: &str, value: &str) -> bool {
    let its_own = ["DOCKER", "LD_", "GO", "CONTAINER", "XDG_", "SSL_", "TMPDIR", "PATH", "HOME"];
    !in_a_line(value)
        && !its_own.iter().any(|begin| name.starts_with(begin))
        && !name.to_lowercase().ends_with("_proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_line_holds_goes_by_the_command() {
        assert!(in_a_line("a b") && !by_command("SAMPLE", "a b"));
        for value in ["a\nb", "a\r", &"a".repeat(70_000)] {
            assert!(by_command("SAMPLE", value) && !by_command("DOCKER_HOST", value) && !by_command("PATH", value));
        }
    }
}
