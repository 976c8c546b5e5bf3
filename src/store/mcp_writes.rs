//! Writes of tool servers: done, then told to every replica; and of tokens for them.

use super::{
    Result, Store,
    records::mcp::{McpGrant, McpSecrets, McpServerRecord, McpTokenRecord},
};
use crate::{
    bus::{ConfigPart, Notice},
    clock::Timestamp,
    config::Secret,
    ids::{McpServerId, UserId},
};

impl Store {
    fn mcp_servers_changed(&self) {
        self.bus().publish(Notice::Config { part: ConfigPart::McpServers });
    }

    /// Makes a tool server.
    ///
    /// # Errors
    /// [`super::Error::Duplicate`] for a slug that is taken.
    pub async fn create_mcp_server(
        &self,
        server: McpServerRecord,
        secrets: McpSecrets,
    ) -> Result<McpServerRecord> {
        let made = self.create_mcp_server_row(self.keys().clone(), server, secrets).await?;
        self.mcp_servers_changed();
        Ok(made)
    }

    /// Writes a tool server as it shall be, unless it was changed since `seen`. `drop_tokens`: the tokens of
    /// users are of no more use.
    ///
    /// # Errors
    /// [`super::Error::Stale`] when it was changed meanwhile, [`super::Error::Duplicate`] for a slug that is
    /// taken.
    pub async fn change_mcp_server(
        &self,
        server: McpServerRecord,
        secrets: McpSecrets,
        seen: Timestamp,
        drop_tokens: bool,
    ) -> Result<McpServerRecord> {
        let keys = self.keys().clone();
        let done = self.change_mcp_server_row(keys, server, secrets, seen, drop_tokens).await?;
        self.mcp_servers_changed();
        Ok(done)
    }

    /// Removes a tool server with every token for it. Chats keep its id.
    ///
    /// # Errors
    /// [`super::Error::NotFound`].
    pub async fn delete_mcp_server(&self, id: McpServerId) -> Result<()> {
        self.delete_mcp_server_row(id).await?;
        self.mcp_servers_changed();
        Ok(())
    }

    /// Brings the tool servers of the configuration in step with it, under a lock.
    ///
    /// # Errors
    /// When the database fails, or a stored secret cannot be opened.
    pub async fn sync_mcp_servers(
        &self,
        declared: Vec<(McpServerRecord, McpSecrets)>,
        now: Timestamp,
    ) -> Result<()> {
        if self.sync_mcp_server_rows(self.keys().clone(), declared, now).await? {
            self.mcp_servers_changed();
        }
        Ok(())
    }

    /// Writes down the OAuth client that discovery made for a server, unless the server was changed since
    /// the record was read.
    ///
    /// # Errors
    /// [`super::Error::Stale`] when it was changed meanwhile.
    pub async fn set_mcp_client(
        &self,
        server: McpServerRecord,
        secret: Option<Secret>,
        now: Timestamp,
    ) -> Result<McpServerRecord> {
        self.set_mcp_client_row(self.keys().clone(), server, secret, now).await
    }

    /// Stores the token of a user, in place of an earlier one; `server` is the record that it was asked for
    /// with.
    ///
    /// # Errors
    /// [`super::Error::Stale`] when the server was changed meanwhile, [`super::Error::NotFound`] when it is
    /// gone.
    pub async fn put_mcp_token(
        &self,
        server: &McpServerRecord,
        user: UserId,
        grant: McpGrant,
        now: Timestamp,
    ) -> Result<()> {
        let keys = self.keys().clone();
        self.put_mcp_token_row(keys, server.id, server.updated_at, user, grant, now).await
    }

    /// Stores a refreshed token, unless another one was stored since `old` was read. Whether it was stored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew_mcp_token(
        &self,
        old: McpTokenRecord,
        grant: McpGrant,
        now: Timestamp,
    ) -> Result<bool> {
        self.renew_mcp_token_row(self.keys().clone(), old, grant, now).await
    }
}
