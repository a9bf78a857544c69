#include "cli/audit/audit.hpp"

namespace troupe::audit {
namespace {

using enum severity;

constexpr check rows[] = {
    {"state-folder", high, "Take the rights of group and others to read and write from the state folder (chmod 0711)",
     open_state_folder},
    {"socket", high, "Restore the socket's mode: who opens it is an administrator", open_sockets},
    {"secret-file", high, "Let only root read what holds keys and state (chmod go=)", readable_secrets},
    {"state-file", medium, "Take the rights of others from the file", files_for_everybody},
    {"listener", medium, "Listen on the addresses that clients use instead of on all of the host",
     listeners_everywhere},
    {"trust-password", medium, "Unset core.trust_password and give out tokens: each works once", trust_password},
    {"token-expiry", low, "Set core.remote_token_expiry, so that a lost token ends", tokens_for_ever},
    {"authority", low, "Unset core.trust_ca_certificates and add each client, restricted", trusted_authority},
    {"authority-crl", low, "Put the authority's revocation list beside it, as ca.crl", authority_without_revocations},
    {"cors", medium, "Name the one origin that may, or unset core.https_allowed_origin", foreign_origins},
    {"open-metrics", low, "Unset core.metrics_authentication and give scrapers certificates of type metrics",
     metrics_for_everybody},
    {"certificate", medium, "Restrict the certificate to the projects that it needs", unrestricted_certificates},
    {"certificate-end", low, "Remove or renew the certificate", ending_certificates},
    {"server-certificate-end", medium, "Put a new server.crt and server.key in place, then kill -HUP",
     ending_server_certificate},
    {"public-image", low, "Make the image private, unless strangers shall have it", public_images},
    {"sink-plain", medium, "Send events by https or tls: they name users and instances", plain_sinks},
    {"privileged", high, "Unset security.privileged: its root is the host's root", privileged_instances},
    {"raw", high, "Unset the raw key: it goes past every rule", raw_keys},
    {"nesting", medium, "Unset security.nesting, or isolate the instance's ids", nested_instances},
    {"shared-ids", low,
     "Set security.idmap.isolated: instances that share ids share limits and can reach each other's files", shared_ids},
    {"instance-limits", low, "Set limits.memory and limits.processes", unlimited_instances},
    {"project", medium, "Set restricted=true: who makes instances in it can else make privileged ones",
     unrestricted_projects},
    {"project-limits", low, "Set limits.instances, limits.memory and limits.processes of the project",
     unlimited_projects},
    {"kernel", medium, "Set it in /etc/sysctl.d", kernel_settings},
    {"processor", medium, "Update kernel and microcode, or accept it by a waiver", vulnerable_processor},
    {"apparmor", medium, "Boot with AppArmor, the second wall of containers", no_apparmor},
};

} // namespace

std::span<const check> checks() { return rows; }

std::string_view to_string(severity how) {
  constexpr std::string_view words[] = {"low", "medium", "high"};
  return words[static_cast<size_t>(how)];
}

std::string facts::config(std::string_view key) const {
  auto at = server.find("config");
  return at == server.end() || !at->is_object() ? "" : at->value(std::string{key}, "");
}

} // namespace troupe::audit
