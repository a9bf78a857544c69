#include "cli/init/questions.hpp"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sys/statvfs.h>

namespace troupe {

using nlohmann::json;

namespace {

constexpr uint64_t gib = 1ull << 30;

std::string check_name(const std::string& name) {
  bool fine =
      !name.empty() && name.size() <= 63 && name.find_first_of("/ \t\\:*?\"'") == std::string::npos && name[0] != '-';
  return fine ? "" : "this is not a valid name";
}

std::string check_bridge_name(const std::string& name) {
  if (name.size() < 2 || name.size() > 15) return "an interface's name has 2 to 15 characters";
  return check_name(name);
}

std::string check_address(const std::string& text) {
  if (text == "auto" || text == "none") return "";
  return text.find('/') != std::string::npos ? "" : "an address needs its prefix length, as in 10.1.2.1/24";
}

std::string check_size(const std::string& text) {
  bool digits = !text.empty() && text.size() < 7 &&
                std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  return digits && text != "0" ? "" : "this is not a number of GiB";
}

/// A fifth of what is free, between 5 and 30 GiB.
std::string usual_loop_size(const std::string& dir) {
  struct statvfs facts {};
  uint64_t free_gib = ::statvfs(dir.c_str(), &facts) == 0 ? facts.f_bavail * facts.f_frsize / gib : 0;
  return std::to_string(std::clamp<uint64_t>(free_gib / 5, 5, 30));
}

outcome<pool_wish> ask_pool(questions& ask, const surroundings& found, const std::string& dir) {
  pool_wish wish;
  auto name = ask.text("Name of the new storage pool", "default", check_name);
  if (!name) return tl::unexpected{name.error()};
  wish.name = *name;
  auto driver = ask.text(
      "Name of the storage backend to use (btrfs, dir)", found.btrfs ? "btrfs" : "dir",
      [](const std::string& typed) { return typed == "btrfs" || typed == "dir" ? "" : "known are btrfs and dir"; });
  if (!driver) return tl::unexpected{driver.error()};
  wish.driver = *driver;
  if (wish.driver == "dir") return wish;
  auto existing = ask.yes_no("Would you like to use an existing block device or btrfs path?", false);
  if (!existing) return tl::unexpected{existing.error()};
  auto answer = *existing ? ask.text("Path to the existing block device or btrfs path", "",
                                     [](const std::string& path) {
                                       return path.starts_with('/') ? "" : "this must be an absolute path";
                                     })
                          : ask.text("Size in GiB of the new loop device", usual_loop_size(dir), check_size);
  if (!answer) return tl::unexpected{answer.error()};
  if (*existing)
    wish.source = *answer;
  else
    wish.size = *answer + "GiB";
  return wish;
}

outcome<bridge_wish> ask_bridge(questions& ask, const surroundings& found) {
  bridge_wish wish;
  auto name = ask.text("What should the new bridge be called?", found.free_bridge_name, check_bridge_name);
  if (!name) return tl::unexpected{name.error()};
  wish.name = *name;
  struct family {
    const char* title;
    std::string* address;
    bool* nat;
  };
  for (auto& [title, address, nat] :
       {family{"IPv4", &wish.ipv4, &wish.ipv4_nat}, family{"IPv6", &wish.ipv6, &wish.ipv6_nat}}) {
    auto typed =
        ask.text(std::string{"What "} + title + " address should be used? (CIDR subnet notation, \"auto\" or \"none\")",
                 "auto", check_address);
    if (!typed) return tl::unexpected{typed.error()};
    *address = *typed;
    if (*typed == "auto" || *typed == "none") continue;
    auto masked = ask.yes_no(std::string{"Would you like to NAT "} + title + " traffic on your bridge?", true);
    if (!masked) return tl::unexpected{masked.error()};
    *nat = *masked;
  }
  return wish;
}

std::string check_port(const std::string& text) {
  bool digits = !text.empty() && text.size() <= 5 &&
                std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  return digits && std::stoi(text) > 0 && std::stoi(text) < 65536 ? "" : "this is not a port";
}

/// The server's configuration for clients on other machines; empty: none.
outcome<json> ask_network_access(questions& ask) {
  auto any = [](const std::string&) { return std::string{}; };
  auto wanted = ask.yes_no("Would you like the server to be available over the network?", false);
  if (!wanted) return tl::unexpected{wanted.error()};
  json config = json::object();
  if (!*wanted) return config;
  auto address = ask.text("Address to bind to (not including port)", "all", any);
  if (!address) return tl::unexpected{address.error()};
  auto port = ask.text("Port to bind to", "8443", check_port);
  if (!port) return tl::unexpected{port.error()};
  auto password = ask.text("Trust password for new clients (empty: none, they need tokens)", "", any);
  if (!password) return tl::unexpected{password.error()};
  bool v6 = address->find(':') != std::string::npos && !address->starts_with('[');
  auto host = *address == "all" ? std::string{} : v6 ? '[' + *address + ']' : *address;
  config["core.https_address"] = host + ':' + *port;
  if (!password->empty()) config["core.trust_password"] = *password;
  return config;
}

} // namespace

outcome<std::string> questions::text(const std::string& question, const std::string& fallback,
                                     const std::function<std::string(const std::string&)>& check) {
  for (;;) {
    out_ << question << (fallback.empty() ? "" : " [default=" + fallback + "]") << ": " << std::flush;
    std::string typed;
    if (!std::getline(in_, typed)) return fail(fault::invalid, "The input ended before all questions were answered");
    if (typed.empty()) typed = fallback;
    auto problem = check(typed);
    if (problem.empty()) return typed;
    out_ << "Invalid input: " << problem << '\n';
  }
}

outcome<bool> questions::yes_no(const std::string& question, bool fallback) {
  auto word = text(question + " (yes/no)", fallback ? "yes" : "no", [](const std::string& typed) {
    return typed == "yes" || typed == "y" || typed == "no" || typed == "n" ? "" : "answer yes or no";
  });
  if (!word) return tl::unexpected{word.error()};
  return (*word)[0] == 'y';
}

outcome<json> ask_setup(questions& ask, const surroundings& found, const std::string& dir) {
  json setup = json::object();
  auto pool = found.pool, bridge = found.bridge;
  auto new_pool = ask.yes_no("Do you want to configure a new storage pool?", found.pool.empty());
  if (!new_pool) return tl::unexpected{new_pool.error()};
  if (*new_pool) {
    auto wish = ask_pool(ask, found, dir);
    if (!wish) return tl::unexpected{wish.error()};
    pool = wish->name;
    setup["storage_pools"] = {pool_entry(*wish)};
  }
  auto new_bridge = ask.yes_no("Would you like to create a new local network bridge?", found.bridge.empty());
  if (!new_bridge) return tl::unexpected{new_bridge.error()};
  if (*new_bridge) {
    auto wish = ask_bridge(ask, found);
    if (!wish) return tl::unexpected{wish.error()};
    bridge = wish->name;
    setup["networks"] = {network_entry(*wish)};
  }
  setup["profiles"] = {profile_entry(found, pool, bridge)};
  auto config = ask_network_access(ask);
  if (!config) return tl::unexpected{config.error()};
  if (!config->empty()) setup["config"] = *config;
  return setup;
}

} // namespace troupe
