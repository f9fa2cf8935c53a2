//! The ways in which administrators put a registry on the network, each with docker logging in, pushing and pulling, and
//! with the addresses that clients are told.
//!
//! Ports that clients never name are on loopback addresses of the test's own, so that port 443 is free for it.

use std::{fs, net::SocketAddr, path::Path};

use crate::{
    stage::TAG,
    support::{
        balancer::{Announce, Balancer},
        certificate::{Certificate, HOST_NAME},
        command::{command, run, run_refused},
        daemons::{Docker, Nginx},
        process::free_address,
        registry::{Auth, Program, Registry, Storage, tls_section},
        tokens::{DEVELOPER, SERVICE},
        tools,
    },
};

/// What a topology is made of.
struct Scene {
    directory: tempfile::TempDir,
    registry: Registry,
    /// What clients connect to, and how they call it.
    front: SocketAddr,
    host: String,
}

impl Scene {
    /// Starts the registry at `address`, with these lines in its configuration; `None` if a program is missing.
    fn set(
        address: SocketAddr,
        front: SocketAddr,
        host: &str,
        more: impl FnOnce(&Certificate) -> String,
    ) -> Option<Self> {
        let programs = ["docker", "dockerd", "containerd", "runc", "unshare", "curl", "tar"];
        if !tools::present(&programs) || !tools::root() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::directory(&directory.path().join("data"));
        let server = directory.path().join("server");
        let registry = Registry::start_with(&Program::pierhead(), &server, &storage, Auth::Token, address, more);
        Some(Self { directory, registry, front, host: host.to_owned() })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// docker logs in, pushes what the registry has not seen, forgets it and pulls it back.
    fn play_docker(&self) {
        let names = format!("127.0.0.1 localhost\n{} {HOST_NAME}\n", self.front.ip());
        let docker = Docker::start_among(self.path(), &names, &self.host, &self.registry.certificate);
        let log_in = |password: &str| docker.command(["login", "-u", DEVELOPER.name, "-p", password, &self.host]);
        run_refused(&mut log_in("wrong"));
        assert!(run(&mut log_in(DEVELOPER.password)).contains("Login Succeeded"));

        let content = self.path().join("root");
        fs::create_dir_all(&content).unwrap();
        // More than one read of everything on the way.
        fs::write(content.join("file"), vec![7; 3 << 20]).unwrap();
        let archive = self.path().join("root.tar");
        run(command("tar", ["-cf"]).arg(&archive).arg("-C").arg(&content).arg("."));
        let reference = format!("{}/team/way:{TAG}", self.host);
        run(docker.command(["import"]).arg(&archive).arg(&reference));
        let image = |docker: &Docker| run(&mut docker.command(["image", "inspect", "--format", "{{.Id}}", &reference]));
        let pushed = image(&docker);
        run(&mut docker.command(["push", &reference]));
        run(&mut docker.command(["rmi", &reference]));
        run(&mut docker.command(["pull", &reference]));
        assert_eq!(image(&docker), pushed);
    }

    /// What `Location` says when an upload begins, without its path.
    fn location(&self, proxy: &str) -> String {
        let head = self.curl(&[
            "-X",
            "POST",
            "-D",
            "-",
            "-o",
            "/dev/null",
            "-H",
            proxy,
            "-H",
            &format!("Authorization: Bearer {}", self.token()),
            &format!("https://{}/v2/team/way/blobs/uploads/", self.host),
        ]);
        assert!(head.contains(" 202"), "{head}");
        let field =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("location: ").map(str::to_owned));
        field.unwrap().split("/v2/team/way/blobs/uploads/").next().unwrap().to_owned()
    }

    /// Fetched where the challenge says.
    fn token(&self) -> String {
        let head = self.curl(&["-I", &format!("https://{}/v2/", self.host)]);
        let realm = head.split("realm=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a challenge");
        let query = format!("{realm}?service={SERVICE}&scope=repository:team/way:pull,push");
        let answer = self.curl(&["-u", &format!("{}:{}", DEVELOPER.name, DEVELOPER.password), &query]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// curl over HTTP/1.1 that finds the host at the front.
    fn curl(&self, arguments: &[&str]) -> String {
        let port = self.host.split_once(':').map_or("443", |(_, port)| port);
        let mut curl = command("curl", ["-sS", "--http1.1", "--noproxy", "*", "--max-time", "30"]);
        curl.arg("--cacert").arg(&self.registry.certificate.authority);
        curl.arg("--resolve").arg(format!("{HOST_NAME}:{port}:{}", self.front.ip()));
        run(curl.args(arguments))
    }
}

#[test]
fn docker_on_a_domain_of_its_own() {
    let address: SocketAddr = "127.44.1.1:443".parse().unwrap();
    let internal = free_address();
    let listen = |certificate: &Certificate| {
        format!(
            "{}edge:\n  external_url: https://{HOST_NAME}\n  listen:\n    - address: {address}\n    \
             - {{address: '{internal}', tls: off}}\n",
            tls_section(certificate)
        )
    };
    let Some(scene) = Scene::set(address, address, HOST_NAME, listen) else { return };
    scene.play_docker();
    assert_eq!(scene.location("X-Forwarded-Host: evil"), format!("https://{HOST_NAME}"));
    // The address that GitLab itself talks to stands beside it, in plain HTTP.
    let url = format!("http://{internal}/v2/");
    let own = run(&mut command("curl", ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", &url]));
    assert_eq!(own, "401");
}

#[test]
fn docker_on_another_port_of_a_shared_domain() {
    let address = free_address();
    let host = format!("{HOST_NAME}:{}", address.port());
    let (shown, plain) = (host.clone(), free_address());
    let listen = |certificate: &Certificate| {
        format!(
            "{}edge:\n  external_url: https://{shown}\n  listen: ['{address}']\n  \
             redirect_http_to_https: {{address: '{plain}'}}\n",
            tls_section(certificate)
        )
    };
    let Some(scene) = Scene::set(address, address, &host, listen) else { return };
    scene.play_docker();
    assert_eq!(scene.location("X-Forwarded-Host: evil"), format!("https://{host}"));
    let redirect = run(&mut command("curl", ["-sSI", "--noproxy", "*", &format!("http://{plain}/v2/x?y=1")]));
    assert!(redirect.to_ascii_lowercase().contains(&format!("location: https://{host}/v2/x?y=1")), "{redirect}");
}

#[test]
fn docker_through_a_balancer_that_maps_443_to_another_port() {
    let (front, address): (SocketAddr, _) = ("127.44.1.2:443".parse().unwrap(), free_address());
    let listen = |certificate: &Certificate| {
        format!(
            "{}edge:\n  external_url: https://{HOST_NAME}\n  trusted_proxies: [127.0.0.1]\n  listen:\n    \
             - {{address: '{address}', proxy_protocol: required}}\n",
            tls_section(certificate)
        )
    };
    let Some(scene) = Scene::set(address, front, HOST_NAME, listen) else { return };
    let balancer = Balancer::start_at(front, vec![address], Announce::Client);
    scene.play_docker();
    let location = scene.location("X-Forwarded-Host: evil");
    assert_eq!(location, format!("https://{HOST_NAME}"));
    assert!(!location.contains(&address.port().to_string()));
    let (log, clients) = (scene.registry.log(), balancer.clients());
    // The clients of the balancer, not the balancer.
    let named = |line: &str| line.split_once("http.request.remoteaddr=\"")?.1.split('"').next().map(str::to_owned);
    let named: Vec<String> = log.lines().filter_map(named).collect();
    assert!(!named.is_empty(), "{log:.4000}");
    let known = named.iter().filter(|named| clients.iter().any(|client| client.to_string() == **named));
    assert_eq!(known.count(), named.len(), "{named:?} {clients:?}");
}

#[test]
fn docker_through_a_proxy_that_ends_tls() {
    let (front, address) = (free_address(), free_address());
    let host = format!("{HOST_NAME}:{}", front.port());
    let listen = |_: &Certificate| {
        "  relativeurls: false\nedge:\n  trusted_proxies: [127.0.0.1]\n  real_ip: {header: X-Real-IP}\n".to_owned()
    };
    if !tools::present(&["nginx"]) {
        return;
    }
    let Some(scene) = Scene::set(address, front, &host, listen) else { return };
    let log = scene.path().join("locations");
    let format = "log_format locations '$request_method $sent_http_location'; access_log";
    let directives = format!("{format} {} locations;", log.display());
    let _nginx = Nginx::start_logging(front, scene.path(), address, &scene.registry.certificate, &directives);
    scene.play_docker();
    // What docker was told.
    let told = fs::read_to_string(&log).unwrap();
    let locations: Vec<_> = told.lines().filter_map(|line| line.split_once(' ')).filter(|(_, at)| *at != "-").collect();
    assert!(locations.iter().any(|(method, _)| *method == "POST"), "{told}");
    let right = |(_, location): &&(&str, &str)| location.starts_with(&format!("https://{host}/v2/team/way/"));
    assert_eq!(locations.iter().filter(right).count(), locations.len(), "{told}");
    assert_eq!(scene.location("Accept: */*"), format!("https://{host}"));
    assert!(scene.registry.log().contains("http.request.remoteaddr=127.0.0.1 "), "{:.4000}", scene.registry.log());
}
