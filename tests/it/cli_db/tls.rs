//! PostgreSQL over TLS, as far as the address asks for it.

use crate::support::{
    Engine,
    fake_model::says,
    outside::chatd,
    postgres::{Cluster, start_with},
    run,
};
use diesel::{QueryableByName, sql_query, sql_types::BigInt};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path};

const PASSWORD: &str = "canary-database-password";

/// A server that lets nobody in over the network without TLS, whose certificate is made out for `localhost`.
struct Server {
    cluster: Cluster,
    port: u16,
}

impl Server {
    /// `authority` is where the certificate of whoever vouches for the server is written.
    fn start(authority: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(authority, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let mut last = String::new();
        // Somebody else may take the port between our look and the server's.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let started = start_with(|dir| {
                let file = |name: &str, text: &str| {
                    let path = dir.join(name);
                    fs::write(&path, text).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                    path.display().to_string()
                };
                let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
                format!(
                    "-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file={} -c ssl_key_file={} \
                     -c hba_file={}",
                    file("server.crt", &certificate.pem()),
                    file("server.key", &key.serialize_pem()),
                    file("hba.conf", hba),
                )
            });
            match started {
                Ok(mut cluster) => {
                    cluster.admin = cluster.admin.replace("port=5432", &format!("port={port}"));
                    return Self { cluster, port };
                }
                Err(why) => last = why,
            }
        }
        panic!("no server started: {last}");
    }

    async fn admin(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.cluster.admin).await.expect("the socket of this machine")
    }

    fn url(&self, host: &str, query: &str) -> String {
        format!("postgres://chatd:{PASSWORD}@{host}:{}/postgres{query}", self.port)
    }
}

#[derive(QueryableByName)]
struct Connections {
    #[diesel(sql_type = BigInt)]
    encrypted: i64,
    #[diesel(sql_type = BigInt)]
    plain: i64,
}

#[test]
fn a_server_is_trusted_as_far_as_the_address_says() {
    run(Engine::Sqlite, "tls", |h| async move {
        h.log.forbid(PASSWORD);
        let authority = h.folder().join("authority.pem");
        let server = Server::start(&authority);
        let mut admin = server.admin().await;
        admin.batch_execute(&format!("ALTER USER chatd PASSWORD '{PASSWORD}'")).await.unwrap();
        let root = format!("sslrootcert={}", authority.display());
        let root = root.as_str();
        for (host, query, status, says) in [
            ("localhost", "?sslmode=disable".to_owned(), 69, "no encryption"),
            ("localhost", String::new(), 0, ""),
            ("127.0.0.1", "?sslmode=require".to_owned(), 0, ""),
            ("127.0.0.1", format!("?sslmode=require&{root}"), 0, ""),
            ("127.0.0.1", format!("?sslmode=verify-ca&{root}"), 0, ""),
            ("localhost", format!("?sslmode=verify-full&{root}&channel_binding=require"), 0, ""),
            ("127.0.0.1", format!("?sslmode=verify-full&{root}"), 69, "not valid for name"),
            ("localhost", "?sslmode=verify-full".to_owned(), 69, "UnknownIssuer"),
            ("127.0.0.1", "?sslmode=verify-ca".to_owned(), 69, "UnknownIssuer"),
            ("localhost", "?sslmode=on".to_owned(), 78, "found \"on\""),
            ("localhost", "?sslmode=verify-full&sslrootcert=/nowhere.pem".to_owned(), 78, "/nowhere.pem"),
        ] {
            let url = server.url(host, &query);
            let ran = chatd(h.folder(), &["migrate", "--database-url", &url]).await;
            assert_eq!(ran.status, status, "{host}{query}: {ran:?}");
            assert!(ran.err.contains(says) && !ran.err.contains(PASSWORD), "{host}{query}: {ran:?}");
        }
        h.configure(&format!(
            "[database]\nurl = \"{}\"\n",
            server.url("localhost", &format!("?sslmode=verify-full&{root}"))
        ));
        h.model.push([says("Over TLS.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = api.create_chat("Hello").await;
        let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["Over TLS."]);
        let seen: Connections = sql_query(
            "SELECT count(*) FILTER (WHERE s.ssl) AS encrypted, count(*) FILTER (WHERE NOT s.ssl) AS plain \
             FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'chatd'",
        )
        .get_result(&mut admin)
        .await
        .unwrap();
        // The pool, the heartbeats, and both directions of the hints.
        assert!(
            seen.encrypted >= 3 && seen.plain == 0,
            "{} with TLS, {} without",
            seen.encrypted,
            seen.plain
        );
        daemon.stop().await;
    });
}
