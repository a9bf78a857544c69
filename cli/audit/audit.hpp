#pragma once

#include "messages/error.hpp"

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::audit {

/// What the checks look at: the daemon's answers, and where its state and the host's settings are.
struct facts {
  std::string dir;       // the state folder
  std::string host = ""; // before /proc and /sys; a test has its own
  nlohmann::json server = nlohmann::json::object();
  nlohmann::json certificates = nlohmann::json::array(), instances = nlohmann::json::array(),
                 projects = nlohmann::json::array(), images = nlohmann::json::array(), sinks = nlohmann::json::array();

  std::string config(std::string_view key) const; // of the server
};

/// Asks the daemon of that state folder for everything. Errors as `server::get` has them.
outcome<facts> gather(const std::string& dir);

struct finding {
  std::string subject; // what a waiver names
  std::string text;
};

enum class severity : uint8_t { low, medium, high };
std::string_view to_string(severity how);

/// One row of the table in checks.cpp.
struct check {
  std::string_view id;
  severity how;
  std::string_view remedy; // one sentence
  std::vector<finding> (*look)(const facts& of);
};
std::span<const check> checks();

// state_checks.cpp: files of the daemon
std::vector<finding> open_state_folder(const facts& of);
std::vector<finding> open_sockets(const facts& of);
std::vector<finding> readable_secrets(const facts& of);
std::vector<finding> files_for_everybody(const facts& of);
std::vector<finding> authority_without_revocations(const facts& of);
// server_checks.cpp: listeners, trust, what is sent away
std::vector<finding> listeners_everywhere(const facts& of);
std::vector<finding> trust_password(const facts& of);
std::vector<finding> tokens_for_ever(const facts& of);
std::vector<finding> trusted_authority(const facts& of);
std::vector<finding> foreign_origins(const facts& of);
std::vector<finding> metrics_for_everybody(const facts& of);
std::vector<finding> unrestricted_certificates(const facts& of);
std::vector<finding> ending_certificates(const facts& of);
std::vector<finding> ending_server_certificate(const facts& of);
std::vector<finding> public_images(const facts& of);
std::vector<finding> plain_sinks(const facts& of);
// tenant_checks.cpp: instances and projects
std::vector<finding> privileged_instances(const facts& of);
std::vector<finding> raw_keys(const facts& of);
std::vector<finding> nested_instances(const facts& of);
std::vector<finding> shared_ids(const facts& of);
std::vector<finding> unlimited_instances(const facts& of);
std::vector<finding> unrestricted_projects(const facts& of);
std::vector<finding> unlimited_projects(const facts& of);
// host_checks.cpp: the kernel
std::vector<finding> kernel_settings(const facts& of);
std::vector<finding> vulnerable_processor(const facts& of);
std::vector<finding> no_apparmor(const facts& of);

} // namespace troupe::audit
