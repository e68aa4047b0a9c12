//! A real nginx with a file of `deploy/nginx`.

use std::{net::SocketAddr, path::Path, process::Command};

use crate::{Program, server};

/// An nginx with one of the shipped files; what listens on these ports there
/// listens at these addresses here. Nothing else of the file is changed but
/// where nginx itself listens and keeps its temporary files.
pub struct Server {
    program: Program,
    _files: tempfile::TempDir,
}

impl Server {
    /// Starts one, after it has called its own file good (`nginx -t`).
    pub fn start(file: &str, addresses: &[(u16, SocketAddr)]) -> Server {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx");
        let files = server::folder("nginx-files");
        std::fs::copy(shipped.join("passing.conf"), files.path().join("passing.conf")).unwrap();
        let mut conf = std::fs::read_to_string(shipped.join(file)).unwrap();
        for (port, address) in addresses {
            let shipped = format!("server 127.0.0.1:{port} ");
            assert!(conf.contains(&shipped), "{file} does not name {shipped}");
            conf = conf.replace(&shipped, &format!("server {address} "));
        }
        let at = files.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};\n"));
        conf = conf.replace("http {", &format!("http {{\n{}", temporary.concat()));
        let path = files.path().join("nginx.conf");
        let command = |port: u16| {
            std::fs::write(&path, conf.replace("listen 80;", &format!("listen 127.0.0.1:{port};"))).unwrap();
            let mut nginx = Command::new("nginx");
            nginx.args(["-e", "stderr", "-c"]).arg(&path).arg("-g");
            nginx.arg(format!("daemon off; master_process off; pid {at}/pid;"));
            let checked = Command::new("nginx").args(nginx.get_args()).arg("-t").output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
            nginx
        };
        Server { program: Program::start("nginx", command), _files: files }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.program.port()).into()
    }
}
