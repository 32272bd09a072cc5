//! The cluster's certificates and keys.
//!
//! They are as kubeadm makes them ("PKI certificates and requirements" in the Kubernetes
//! documentation), with P-256 keys because those are made at once.

use std::{fs, net::Ipv4Addr, os::unix::fs::DirBuilderExt, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::{
    components::API_SERVICE, error::Error, network::Subnet, settings::User, state::replace,
};

/// A certificate and its key, both as PEM text.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Everything that the components and the admin identify themselves with.
#[derive(Debug)]
pub struct Pki {
    /// The authority that has signed all others.
    pub authority: Identity,
    /// The API server, towards its clients.
    pub apiserver: Identity,
    /// The API server, towards the kubelet.
    pub kubelet_client: Identity,
    /// The kubelet of each node, in both directions.
    pub nodes: Vec<Identity>,
    /// The API server, towards aggregated API servers. The name is the one that OpenShift's
    /// configuration allows; upstream's has none.
    pub aggregator: Identity,
    /// A cluster administrator.
    pub admin: Identity,
    /// A developer: an ordinary user, who has no rights unless they are granted.
    pub developer: Identity,
    /// The private key that signs the tokens of service accounts.
    pub service_account_key: String,
    /// Its public half.
    pub service_account_public_key: String,
    /// The servers behind services, by the service's name and namespace, such as `api.default`.
    pub services: Vec<(String, Identity)>,
}

impl Pki {
    /// Makes new ones, also for nodes with these names and addresses.
    pub fn generate(
        nodes: &[(String, Ipv4Addr)],
        subnet: Subnet,
        services: &[&str],
    ) -> Result<Self, Error> {
        let address = subnet.node().to_string();
        let apiserver_names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
            "127.0.0.1",
            API_SERVICE,
            &address,
        ];
        let generate = || -> Result<Self, rcgen::Error> {
            let mut params = CertificateParams::new(Vec::<String>::new())?;
            params.distinguished_name = name(None, "local-cluster");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages =
                vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
            set_validity(&mut params);
            let authority_key = KeyPair::generate()?;
            let authority = Identity {
                certificate: params.self_signed(&authority_key)?.pem(),
                key: authority_key.serialize_pem(),
            };
            let issuer = Issuer::new(params, authority_key);
            let service_account = KeyPair::generate()?;
            Ok(Self {
                authority,
                apiserver: issue(&issuer, None, "kube-apiserver", &apiserver_names)?,
                kubelet_client: issue(
                    &issuer,
                    Some("system:masters"),
                    "kube-apiserver-kubelet-client",
                    &[],
                )?,
                nodes: nodes
                    .iter()
                    .map(|(name, address)| issue_for_node(&issuer, name, *address))
                    .collect::<Result<_, _>>()?,
                aggregator: issue(&issuer, None, "system:openshift-aggregator", &[])?,
                admin: issue(&issuer, Some("system:masters"), "admin", &[])?,
                developer: issue(&issuer, None, User::Dev.as_str(), &[])?,
                service_account_key: service_account.serialize_pem(),
                service_account_public_key: service_account.public_key_pem(),
                services: services
                    .iter()
                    .map(|name| issue_for_service(&issuer, name))
                    .collect::<Result<_, _>>()?,
            })
        };
        generate().map_err(|error| Error::other(format!("can't make certificates: {error}")))
    }

    /// Writes what the components read into a folder: `NAME.crt` and `NAME.key`. Users' identities
    /// are only in kubeconfigs.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let identities = [
            ("ca", &self.authority),
            ("apiserver", &self.apiserver),
            ("kubelet-client", &self.kubelet_client),
            ("proxy-client", &self.aggregator),
        ];
        let services = self.services.iter().map(|(name, identity)| (name.as_str(), identity));
        make_private(folder)?;
        for (name, identity) in identities.into_iter().chain(services) {
            write_identity(folder, name, identity)?;
        }
        replace(&folder.join("sa.key"), self.service_account_key.as_bytes(), 0o600)?;
        replace(&folder.join("sa.pub"), self.service_account_public_key.as_bytes(), 0o644)
    }
}

/// Writes what a kubelet reads, and the authority, into a folder of its node.
pub fn write_node(authority: &Identity, node: &Identity, folder: &Path) -> Result<(), Error> {
    make_private(folder)?;
    write_identity(folder, "node", node)?;
    replace(&folder.join("ca.crt"), authority.certificate.as_bytes(), 0o644)
}

fn make_private(folder: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| Error::path("make", folder, source))
}

fn write_identity(folder: &Path, name: &str, identity: &Identity) -> Result<(), Error> {
    replace(&folder.join(format!("{name}.crt")), identity.certificate.as_bytes(), 0o644)?;
    replace(&folder.join(format!("{name}.key")), identity.key.as_bytes(), 0o600)
}

fn issue_for_node(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    address: Ipv4Addr,
) -> Result<Identity, rcgen::Error> {
    let user = format!("system:node:{name}");
    issue(issuer, Some("system:nodes"), &user, &[name, &address.to_string()])
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    organization: Option<&str>,
    common_name: &str,
    alternative_names: &[&str],
) -> Result<Identity, rcgen::Error> {
    let names: Vec<String> = alternative_names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = name(organization, common_name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    set_validity(&mut params);
    let key = KeyPair::generate()?;
    Ok(Identity { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

/// The names are those that the API server uses for a service.
fn issue_for_service(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
) -> Result<(String, Identity), rcgen::Error> {
    let host = format!("{name}.svc");
    let identity = issue(issuer, None, &host, &[&host, &format!("{host}.cluster.local")])?;
    Ok((name.to_owned(), identity))
}

/// A throwaway cluster never lives to see its certificates expire, whatever the machine's clock
/// says.
fn set_validity(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
}

/// In Kubernetes the organization is the group and the common name the user ("X.509 client
/// certificates").
fn name(organization: Option<&str>, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_keys_are_readable_by_root_only() {
        let folder = std::env::temp_dir().join(format!("local-cluster-pki-{}", std::process::id()));
        let nodes = [("node".to_owned(), Ipv4Addr::LOCALHOST)];
        let pki = Pki::generate(&nodes, Subnet::UNUSED, &["a.b"]).unwrap();
        pki.write(&folder).unwrap();
        write_node(&pki.authority, &pki.nodes[0], &folder).unwrap();
        assert!(folder.join("node.key").is_file());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            if path.extension().is_some_and(|extension| extension == "key") {
                assert_eq!(mode, 0o600, "{}", path.display());
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn keys_are_in_forms_that_kubernetes_reads() {
        let pki = Pki::generate(&[], Subnet::UNUSED, &[]).unwrap();
        assert!(pki.service_account_key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(pki.service_account_public_key.starts_with("-----BEGIN PUBLIC KEY-----"));
    }
}
