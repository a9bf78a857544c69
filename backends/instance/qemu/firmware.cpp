#include "backends/instance/qemu/firmware.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace troupe::qemu {
namespace {

constexpr const char* choice_name = "trusted.troupe.firmware";    // on `nvram`: the template it was made from
constexpr const char* plain_choice_name = "user.troupe.firmware"; // where the file system has no trusted ones

std::string read_choice(int fd) {
  char value[64];
  for (const char* name : {choice_name, plain_choice_name})
    if (auto size = ::fgetxattr(fd, name, value, sizeof value); size >= 0) return {value, static_cast<size_t>(size)};
  return {};
}

bool write_choice(int fd, const std::string& choice) {
  return ::fsetxattr(fd, choice_name, choice.data(), choice.size(), 0) == 0 ||
         ::fsetxattr(fd, plain_choice_name, choice.data(), choice.size(), 0) == 0;
}

/// Complete before it has its name.
outcome<void> make_variables(const std::string& source, const std::string& target, const std::string& choice) {
  unique_fd from{::open(source.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat st {};
  if (!from || ::fstat(from.get(), &st) < 0) return fail_errno(errno, "Cannot open the firmware's template " + source);
  auto fresh = target + ".new";
  unique_fd to{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!to) return fail_errno(errno, "Cannot make " + fresh);
  for (off_t left = st.st_size; left > 0;) {
    auto n = ::sendfile(to.get(), from.get(), nullptr, static_cast<size_t>(left));
    if (n <= 0) return fail_errno(n < 0 ? errno : EIO, "Cannot write " + fresh);
    left -= n;
  }
  if (!write_choice(to.get(), choice)) return fail_errno(errno, "Cannot mark " + fresh);
  if (::fsync(to.get()) < 0 || ::rename(fresh.c_str(), target.c_str()) < 0)
    return fail_errno(errno, "Cannot write " + target);
  return {};
}

unique_fd open_variables(const std::string& path) {
  return unique_fd{::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
}

} // namespace

outcome<machine_firmware> open_firmware(const architecture& arch, bool secure, const std::string& folder,
                                        const std::string& volume) {
  auto base = (folder.empty() ? std::string{arch.firmware_folder} : folder) + "/";
  std::string code = secure ? arch.secure_firmware : arch.firmware;
  std::string choice = secure ? arch.secure_variables : arch.variables;
  machine_firmware out;
  out.code.reset(::open((base + code).c_str(), O_RDONLY | O_CLOEXEC));
  if (!out.code && errno == ENOENT)
    return fail(fault::unsupported, "The firmware " + base + code + " is not installed");
  if (!out.code) return fail_errno(errno, "Cannot open the firmware " + base + code);
  auto path = volume + "/nvram";
  out.variables = open_variables(path);
  if (!out.variables && errno != ENOENT) return fail_errno(errno, "Cannot open " + path);
  if (out.variables) {
    auto made_for = read_choice(out.variables.get());
    // One without a mark came with the volume from elsewhere: it is as good as ours, and is this choice's from now on.
    if (made_for == choice || (made_for.empty() && write_choice(out.variables.get(), choice))) return out;
  }
  if (auto made = make_variables(base + choice, path, choice); !made) return tl::unexpected{made.error()};
  out.variables = open_variables(path);
  if (!out.variables) return fail_errno(errno, "Cannot open " + path);
  return out;
}

} // namespace troupe::qemu
