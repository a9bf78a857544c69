#include "cli/audit/audit.hpp"

#include <cstdio>
#include <filesystem>
#include <sys/stat.h>

namespace troupe::audit {
namespace {

constexpr mode_t of_group = 070, of_others = 007;

// -1: there is no such thing.
int mode_of(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 ? static_cast<int>(found.st_mode & 07777) : -1;
}

std::string octal(int mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode));
  return text;
}

void look_at(std::vector<finding>& out, const std::string& path, mode_t forbidden) {
  auto mode = mode_of(path);
  if (mode >= 0 && (static_cast<mode_t>(mode) & forbidden)) out.push_back({path, "Its mode is " + octal(mode)});
}

} // namespace

std::vector<finding> open_state_folder(const facts& of) {
  std::vector<finding> out;
  look_at(out, of.dir, 066); // passing through is what containers need
  return out;
}

std::vector<finding> open_sockets(const facts& of) {
  std::vector<finding> out;
  look_at(out, of.dir + "/unix.socket", of_others); // its group is meant
  look_at(out, of.dir + "/bus.socket", of_group | of_others);
  return out;
}

std::vector<finding> readable_secrets(const facts& of) {
  std::vector<finding> out;
  for (auto name : {"server.key", "database", "images", "spool", "logs", "disks", "sinks"})
    look_at(out, of.dir + '/' + name, of_group | of_others);
  return out;
}

// What lies in the folder itself, which others may pass through; what is below it is secrets' or the containers' own.
std::vector<finding> files_for_everybody(const facts& of) {
  std::vector<finding> out;
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator{of.dir, none}) {
    auto name = entry.path().filename();
    bool is_public = name == "server.crt" || name == "server.ca" || name == "ca.crl" || name == "audit.waivers";
    if (entry.is_regular_file(none) && name != "server.key")
      look_at(out, entry.path().string(), is_public ? 022 : of_others | 020);
  }
  return out;
}

std::vector<finding> authority_without_revocations(const facts& of) {
  auto path = of.dir + "/server.ca";
  if (mode_of(path) < 0 || mode_of(of.dir + "/ca.crl") >= 0) return {};
  return {{path, "It has no revocation list: what it once vouched for stays good until it ends"}};
}

} // namespace troupe::audit
