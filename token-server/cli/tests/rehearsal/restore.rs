//! `pg_dump`, `pg_restore`, and a replica that serves from the restored database.

use tonic::Code;

use crate::{shown, world::World};

const SEQUENCE: &str = "token_server_change_feed_sequence";

impl World {
    /// Everything in the dump is restored, and later changes are absent, as the handbook says.
    pub(crate) async fn a_backup_is_restored(&mut self) {
        self.record.begin("a backup, restored and served from", SEQUENCE);
        let [before, forgotten] =
            [self.replicas[0].token(&self.orders).await.unwrap(), self.replicas[1].token(&self.orders).await.unwrap()];
        let (keys, dump) = (self.replicas[0].key_ids().await.unwrap(), self.database.dump());
        let counted = |table: &str| format!("SELECT count(*) FROM {table}");
        let tables = ["client", "signing_key", "revocation", "admin_audit", "credential_use"];
        let restored = self.postgres.restored(&dump);
        let sequence: f64 = restored.query("SELECT max(sequence) FROM change_log").parse().unwrap();
        for table in tables {
            let (there, here) = (restored.query(&counted(table)), self.database.query(&counted(table)));
            assert_eq!(there, here, "{table}");
        }

        // Changes made after the backup.
        self.create(0, "since-the-backup").await;
        let since = self.acknowledged.last().unwrap().clone();
        self.replicas[0].revoke(&self.orders, &forgotten).await.unwrap();
        self.revoked.push(forgotten.clone());

        let (mut replica, operations) = self.replica_over(&restored);
        replica.await_ready().await;
        shown::until(operations, SEQUENCE, |reached| reached >= sequence).await;
        let secrets = r#"token_server_client_secrets{pepper="current"}"#;
        let clients = self.acknowledged.len() - 1 + 2;
        shown::until(operations, secrets, |number| number == clients as f64).await;

        assert_eq!(replica.key_ids().await.unwrap(), keys);
        for client in self.acknowledged.iter().filter(|client| client.id != since.id).chain([&self.orders]) {
            replica.token(client).await.unwrap();
        }
        let unknown = replica.token(&since).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unauthenticated, "{unknown:?}");
        assert!(replica.is_active(&self.orders, &before).await.unwrap(), "issued before the backup");
        for token in self.revoked.iter().filter(|token| **token != forgotten) {
            assert!(!replica.is_active(&self.orders, token).await.unwrap(), "revoked before the backup");
        }
        assert!(replica.is_active(&self.orders, &forgotten).await.unwrap(), "revoked since: to be repeated");
        let token = replica.token(&self.orders).await.unwrap();
        let verdict = self.side.borrow().clone().verify(0, &token).await;
        assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
        replica.clients(&self.root).await.unwrap();
        replica.stop().await;
        self.hold().await;
    }
}
