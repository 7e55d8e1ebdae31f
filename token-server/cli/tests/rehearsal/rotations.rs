//! Rotates keys, secrets and certificates by the procedures of the handbook.

use std::{fs, time::Instant};

use token_proto::{admin::v1 as admin, token::v1::KeyState};

use crate::{
    cluster::{Identity, Replica},
    side::Failure,
    world::{World, eventually},
};

const PENDING: &str = r#"token_server_signing_keys{algorithm="ES256",state="pending"}"#;
const RETIRING: &str = r#"token_server_signing_keys{algorithm="ES256",state="retiring"}"#;
const DISTRUSTED: &str = r#"token_server_signing_keys{algorithm="ES256",state="distrusted"}"#;
const ACTIVE: &str = r#"token_server_signing_keys{algorithm="ES256",state="active"}"#;
const CLIENT_CHANGES: &str = r#"token_server_change_feed_changes_total{kind="client"}"#;
const REVOCATIONS: &str = r#"token_server_change_feed_changes_total{kind="revocation"}"#;
const SEALED_BEFORE: &str = r#"token_server_sealed_signing_keys{sealing_key="previous"}"#;
const PEPPERED_BEFORE: &str = r#"token_server_client_secrets{pepper="previous"}"#;
const PEPPERED_NOW: &str = r#"token_server_client_secrets{pepper="current"}"#;
const CERTIFICATES: &str = r#"token_server_tls_reloads_total{port="listen",file="certificate",outcome="changed"}"#;
const CLIENT_CAS: &str = r#"token_server_tls_client_ca_certificates{port="listen"}"#;

impl World {
    /// `token-server key rotate`.
    pub(crate) async fn a_signing_key_rotates(&mut self) {
        self.record.begin("a signing key, by hand", "token_server_signing_keys{state}");
        let mut keys = self.replicas[0].keys(&self.root).await.unwrap();
        keys.rotate_signing_key(admin::RotateSigningKeyRequest::default()).await.unwrap();
        self.all_show(PENDING, |number| number == 1.0).await;
        self.all_show(RETIRING, |number| number == 1.0).await;
        self.all_show(ACTIVE, |number| number == 1.0).await;
        self.hold().await;
    }

    /// `token-server key distrust`.
    pub(crate) async fn a_signing_key_has_leaked(&mut self) {
        self.record.begin("a signing key that has leaked", "token_server_signing_keys{state=\"distrusted\"}");
        let published = self.replicas[2].published().await.unwrap();
        let active = published.into_iter().find(|key| key.state() == KeyState::Active).unwrap();
        let token = self.replicas[0].token(&self.orders).await.unwrap();
        let from = Instant::now();
        let mut keys = self.replicas[1].keys(&self.root).await.unwrap();
        let request = admin::DistrustSigningKeyRequest { key_id: active.key_id };
        keys.distrust_signing_key(request).await.unwrap();
        self.refused_everywhere("signed by a leaked key", &token).await;
        // Covers clients that got a token just before, and verifiers that did not know the next key yet.
        self.record.outage(None, from);
        self.all_show(DISTRUSTED, |number| number == 1.0).await;
        self.all_show(ACTIVE, |number| number == 1.0).await;
        self.hold().await;
    }

    /// `RevokeToken` at one replica.
    pub(crate) async fn a_token_is_revoked(&mut self) {
        self.record.begin("a token, revoked", "token_server_change_feed_changes_total{kind=\"revocation\"}");
        let token = self.replicas[0].token(&self.orders).await.unwrap();
        self.replicas[1].revoke(&self.orders, &token).await.unwrap();
        self.refused_everywhere("revoked", &token).await;
        self.revoked.push(token);
        self.all_show(REVOCATIONS, |number| number >= 1.0).await;
        self.hold().await;
    }

    async fn refused_everywhere(&self, what: &str, token: &str) {
        let side = self.side.borrow().clone();
        for (number, replica) in self.replicas.iter().enumerate() {
            let refused = async || matches!(side.verify(number, token).await, Err(Failure::Wrong(_)));
            eventually(&format!("{what}: refused by verifiers"), refused).await;
            let inactive = async || !replica.is_active(&self.orders, token).await.unwrap_or(true);
            eventually(&format!("{what}: inactive"), inactive).await;
        }
    }

    /// `token-server client add-secret`, and later `remove-credential`.
    pub(crate) async fn a_secret_rotates(&mut self) {
        self.record.begin("a client's secret", "token_server_change_feed_changes_total{kind=\"client\"}");
        let before = self.shown(1, CLIENT_CHANGES).await;
        let old = self.orders.clone();
        self.orders = self.add_secret(&old).await;
        self.switch_callers().await;
        self.remove_oldest(&old).await;
        for replica in &self.replicas {
            eventually("the old secret is refused", async || replica.token(&old).await.is_err()).await;
        }
        self.all_show(CLIENT_CHANGES, |number| number >= before).await;
        let reached = self.shown(0, "token_server_change_feed_sequence").await;
        self.all_show("token_server_change_feed_sequence", |sequence| sequence >= reached).await;
        self.hold().await;
    }

    /// Adds a secret. Returns it once every replica knows it.
    async fn add_secret(&self, client: &Identity) -> Identity {
        let mut clients = self.replicas[0].clients(&self.root).await.unwrap();
        let request =
            admin::AddCredentialRequest { client_id: client.id.clone(), ..admin::AddCredentialRequest::default() };
        let added = clients.add_credential(request).await.unwrap().into_inner();
        let new = Identity { id: client.id.clone(), secret: added.client_secret };
        for replica in &self.replicas {
            eventually("the new secret", async || replica.token(&new).await.is_ok()).await;
        }
        new
    }

    async fn remove_oldest(&self, client: &Identity) {
        let mut clients = self.replicas[2].clients(&self.root).await.unwrap();
        let read = clients.get_client(admin::GetClientRequest { client_id: client.id.clone() }).await.unwrap();
        let credential_id = read.into_inner().client.unwrap().credentials[0].credential_id.clone();
        let request =
            admin::RemoveCredentialRequest { client_id: client.id.clone(), credential_id, revoke_tokens: false };
        clients.remove_credential(request).await.unwrap();
    }

    /// Restarts the replicas in three rounds: add the new values, switch to them, remove the former ones.
    pub(crate) async fn sealing_key_and_pepper_rotate(&mut self) {
        let what = "sealing key and pepper, over the replicas";
        self.record.begin(what, "token_server_sealed_signing_keys, token_server_client_secrets");
        let (old, new) = (self.file("key").display().to_string(), self.file("next-key").display().to_string());
        let with = |current: &str, previous: &str, replica: &mut Replica| {
            replica.set("KEYS__SEALING_KEY_FILE", current);
            replica.set("KEYS__PREVIOUS_SEALING_KEY_FILES", previous);
            replica.set("SECRETS__PEPPER_FILE", current);
            replica.set("SECRETS__PREVIOUS_PEPPER_FILES", previous);
        };
        self.roll(|replica| with(&old, &new, replica)).await;
        self.create(2, "made-under-the-old-pepper").await;
        self.roll(|replica| with(&new, &old, replica)).await;
        self.all_show(SEALED_BEFORE, |number| number == 0.0).await;
        let secrets = 2 + self.acknowledged.len();
        self.all_show(PEPPERED_BEFORE, |number| number == secrets as f64).await;
        self.renew_secrets().await;
        self.all_show(PEPPERED_BEFORE, |number| number == 0.0).await;
        self.all_show(PEPPERED_NOW, |number| number == secrets as f64).await;
        self.roll(|replica| {
            replica.unset("KEYS__PREVIOUS_SEALING_KEY_FILES");
            replica.unset("SECRETS__PREVIOUS_PEPPER_FILES");
        })
        .await;
        self.hold().await;
    }

    /// Gives every client another secret, which is stored under the current pepper.
    async fn renew_secrets(&mut self) {
        self.orders = self.add_secret(&self.orders).await;
        self.switch_callers().await;
        self.remove_oldest(&self.orders).await;
        for number in 0..self.acknowledged.len() {
            self.acknowledged[number] = self.add_secret(&self.acknowledged[number]).await;
            self.remove_oldest(&self.acknowledged[number]).await;
        }
        self.root = self.add_secret_to_root().await;
        self.remove_oldest(&self.root).await;
    }

    /// Adds a secret to the root client, which uses another audience than the others.
    async fn add_secret_to_root(&self) -> Identity {
        let mut clients = self.replicas[0].clients(&self.root).await.unwrap();
        let request =
            admin::AddCredentialRequest { client_id: self.root.id.clone(), ..admin::AddCredentialRequest::default() };
        let added = clients.add_credential(request).await.unwrap().into_inner();
        let new = Identity { id: self.root.id.clone(), secret: added.client_secret };
        for replica in &self.replicas {
            eventually("the new secret", async || replica.clients(&new).await.is_ok()).await;
        }
        new
    }

    /// Writes unusable files, which change nothing, then certificates of another CA.
    pub(crate) async fn server_certificates_rotate(&mut self) {
        self.record.begin("the servers' certificates", "token_server_tls_reloads_total{file=\"certificate\"}");
        let usable = r#"token_server_tls_files_usable{port="listen"}"#;
        fs::write(self.file("0/tls.crt"), "not a certificate").unwrap();
        self.replicas[0].hang_up();
        crate::shown::until(self.operations[0], usable, |usable| usable == 0.0).await;
        for number in 0..3 {
            self.server_cas[1].write_leaf(&self.file(&number.to_string()));
            self.replicas[number].hang_up();
        }
        self.all_show(CERTIFICATES, |number| number >= 1.0).await;
        self.all_show(usable, |usable| usable == 1.0).await;
        // From now on, no party trusts the former CA.
        fs::write(self.file("trusted.pem"), self.server_cas[1].pem()).unwrap();
        let (certificate, key) = self.server_cas[1].leaf();
        self.postgres.renew_certificate(&certificate, &key);
        self.reach_anew().await;
        self.hold().await;
    }

    /// Trusts both CAs first, then only the new one, once every client has a certificate of it.
    pub(crate) async fn client_ca_rotates(&mut self) {
        self.record.begin("the clients' CA", "token_server_tls_client_ca_certificates");
        let both = [self.client_cas[0].pem(), self.client_cas[1].pem()].concat();
        self.trust_clients_of(&both, 2.0).await;
        let former = self.endpoint(self.ports[0]);
        self.certificate = self.client_cas[1].leaf();
        self.reach_anew().await;
        let new = self.client_cas[1].pem().to_owned();
        self.trust_clients_of(&new, 1.0).await;
        let mut refused = Replica::another_way(&former);
        eventually("the former CA's clients are refused", async || refused.key_ids().await.is_err()).await;
        refused.reach_by(&self.endpoint(self.ports[0]));
        refused.key_ids().await.unwrap();
        self.hold().await;
    }

    async fn trust_clients_of(&self, cas: &str, number: f64) {
        fs::write(self.file("client-ca.pem"), cas).unwrap();
        for replica in &self.replicas {
            replica.hang_up();
        }
        self.all_show(CLIENT_CAS, |shown| shown == number).await;
    }

    /// Reconnects callers and operators with the current certificates.
    async fn reach_anew(&mut self) {
        for number in 0..3 {
            let endpoint = self.endpoint(self.ports[number]);
            self.replicas[number].reach_by(&endpoint);
            self.replicas[number].key_ids().await.unwrap();
        }
        self.switch_callers().await;
    }
}
