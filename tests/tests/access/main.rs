//! Who may do what (PROTOCOL), with a policy that names operators: the tokens that count, and all those that do not.
//!
//! Bug: somebody loads, lists or unloads without the right, or with a right that was another's, is over, or was used
//! already; or a guest, or the host's log, gets to see a token. Required: refused by name, before anything happens.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod refused;
mod rights;
mod support;
mod tool;
mod used_up;

use refused::*;
use rights::*;
use tool::*;
use used_up::*;

scenarios::on_each_platform!(
    without_a_token_that_counts_nobody_gets_in,
    tokens_that_do_not_count_are_refused_by_name,
    forged_tokens_are_refused,
    a_managers_token_is_good_once_and_on_one_connection,
    streams_of_one_connection_share_its_nonces,
    a_delegated_key_works_within_its_delegation,
    an_app_can_demand_tokens,
    an_operator_works_with_a_key_file,
    a_token_is_for_the_ca_that_signed_the_leaf,
    a_development_policy_is_told_everywhere,
);
