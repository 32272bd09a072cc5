//! A mutating admission webhook, served by the test over TLS.

use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, TcpListener},
    sync::Arc,
    thread,
};

use k8s_openapi::ByteString;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};

use crate::HttpRequest;

/// How the API server reaches a webhook that answers every request with a patch.
pub struct Webhook {
    url: String,
    /// The certificate authority of its certificate, in PEM.
    authority: String,
}

impl Webhook {
    /// Serves on an address of this machine that the API server can reach, until the test ends.
    /// `patch` is a JSON patch (RFC 6902).
    #[track_caller]
    pub fn serve(address: IpAddr, patch: &Value) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new([address.to_string()]).expect("it is a name");
        let certificate = params.self_signed(&key).expect("it can be signed");
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key fits the certificate");
        let (config, patch) = (Arc::new(config), patch.to_string());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (config, patch) = (Arc::clone(&config), patch.clone());
                thread::spawn(move || {
                    let session = ServerConnection::new(config).expect("the configuration is good");
                    let mut stream = BufReader::new(StreamOwned::new(session, connection));
                    // The API server keeps its connection and asks again.
                    while let Some(review) = read_review(&mut stream) {
                        if stream.get_mut().write_all(&answer(&review, &patch)).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { url: format!("https://{address}:{port}/"), authority: certificate.pem() }
    }

    /// The configuration of the webhook, for the pods of runs.
    pub fn configuration(&self, name: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "rewrite.nestcheck.invalid",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {
                    "url": self.url,
                    "caBundle": ByteString(self.authority.clone().into_bytes()),
                },
                "objectSelector": {"matchLabels": {"nestcheck/template": "workspace"}},
                "rules": [{
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }],
            }],
        })
    }
}

/// Reads one request with an `AdmissionReview`; none where the connection ended.
fn read_review(stream: &mut impl BufRead) -> Option<Value> {
    let request = HttpRequest::read(stream).ok()??;
    serde_json::from_slice(&request.body).ok()
}

fn answer(review: &Value, patch: &str) -> Vec<u8> {
    let body = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": ByteString(patch.as_bytes().to_vec()),
        },
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}
