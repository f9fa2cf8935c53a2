//! `import`: a file of what stood here before becomes a configuration, and everything that is lost on the way is named.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{
    config::{Config, environment::Environment},
    import::{self, FILE_SIZE_MAX},
    secret::Secret,
};

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub enum Format<'a> {
    GitlabRb,
    /// With the name of the server that is meant, where there are several.
    NginxConf {
        server: Option<&'a str>,
    },
}

/// A configuration, and what is to be said of it.
#[derive(Debug)]
pub struct Outcome {
    /// YAML.
    pub configuration: Secret<String>,
    /// Sentences, without a secret in them.
    pub notes: Vec<String>,
    /// Whether all that has an effect was understood, and the result is a configuration that can be served.
    pub whole: bool,
}

/// Reads the file; nothing that it names is opened, and nothing in it is run.
///
/// # Errors
/// A file that cannot be read, or is none of its kind.
pub fn read(format: Format<'_>, path: &Path) -> Result<Outcome> {
    let text = text(path)?;
    let place = path.display();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let imported = match format {
        Format::GitlabRb => import::gitlab_rb(&text, &name),
        Format::NginxConf { server } => import::nginx_conf(&text, &name, server),
    };
    // A place in the file belongs right behind its name.
    let imported = imported.map_err(|error| match error {
        import::Error::Syntax(error) => anyhow::anyhow!("{place}:{error}"),
        other => anyhow::anyhow!("{place}: {other}"),
    })?;
    let mut notes: Vec<_> = imported.notes.iter().map(|note| note_line(&place.to_string(), note)).collect();
    let served = judge(imported.yaml.expose(), &mut notes);
    let whole = imported.is_whole() && served;
    Ok(Outcome { configuration: imported.yaml, notes, whole })
}

fn note_line(place: &str, note: &import::Note) -> String {
    if note.place.is_some() { format!("{place}:{note}") } else { format!("{place}: {note}") }
}

/// Reads the result as `serve` would, with nothing in the environment.
fn judge(yaml: &str, notes: &mut Vec<String>) -> bool {
    match Config::parse(yaml, "the result", &Environment::default()) {
        Ok(loaded) => {
            notes.extend(loaded.warnings.iter().map(ToString::to_string));
            true
        }
        Err(error) => {
            notes.push(format!("it would not start: {error:#}"));
            false
        }
    }
}

fn text(path: &Path) -> Result<String> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_SIZE_MAX + 1).read_to_end(&mut content))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if content.len() as u64 > FILE_SIZE_MAX {
        bail!("{}: larger than {FILE_SIZE_MAX} bytes", path.display());
    }
    match String::from_utf8(content) {
        Ok(text) => Ok(text),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.split(|byte| *byte == b'\n').count();
            bail!("{}:{line}: not UTF-8", path.display())
        }
    }
}

/// Writes a configuration, which holds secrets, to a file that is not there yet and that only its owner can read.
///
/// # Errors
/// The file is there, or cannot be written.
pub fn write(configuration: &Secret<String>, path: &Path) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(configuration.expose().as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
