//! What a page says after the form on it was obeyed. The address carries a word, never the text, so that a
//! link cannot make a page say anything.

use serde::Deserialize;

/// The word in the address.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Done {
    #[serde(default)]
    done: String,
}

impl Done {
    pub(crate) fn text(&self) -> &'static str {
        match self.done.as_str() {
            "saved" => "Saved.",
            "password" => "The password is changed. All your other sessions have ended.",
            "ended" => "The session has ended.",
            "revoked" => "The token is revoked. It works nowhere any more.",
            "key-added" => "The key is added.",
            "deploy-key-removed" => "The deploy key is removed. It works nowhere any more.",
            "key-removed" => "The key is removed.",
            "member-set" => "The role is given.",
            "member-removed" => "The member is removed.",
            "cut-off" => "The partner is cut off. Sessions, tokens and keys have ended, everywhere.",
            "end-set" => "The end is set.",
            "closed" => "The account is closed. Its sessions, tokens and keys have ended.",
            "opened" => "The account is open again.",
            _ => "",
        }
    }
}
