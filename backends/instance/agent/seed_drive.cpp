#include "backends/instance/agent/seed_drive.hpp"

#include "backends/instance/agent/seed_programs.hpp"
#include "messages/unique_fd.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <memory>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>

namespace troupe {
namespace {

constexpr std::string_view label = "cidata";
constexpr off_t label_at = 16 * 2048 + 40; // in the primary volume descriptor
constexpr mode_t plain = 0644, executable = 0755;

struct free_archive {
  void operator()(archive* it) const { archive_write_free(it); }
};
struct free_entry {
  void operator()(archive_entry* it) const { archive_entry_free(it); }
};

/// The bytes of a file, as the kernel has them.
class mapped_file {
public:
  static outcome<mapped_file> open(const std::string& path) {
    unique_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0) return fail_errno(errno, "Cannot open " + path);
    if (info.st_size == 0) return fail(fault::backend_failed, "The file is empty: " + path);
    auto size = static_cast<size_t>(info.st_size);
    auto* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (at == MAP_FAILED) return fail_errno(errno, "Cannot read " + path);
    return mapped_file{{static_cast<const char*>(at), size}};
  }
  mapped_file(mapped_file&& other) noexcept : bytes_{std::exchange(other.bytes_, {})} {}
  mapped_file& operator=(mapped_file&&) = delete;
  ~mapped_file() {
    if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  std::string_view bytes() const { return bytes_; }

private:
  explicit mapped_file(std::string_view bytes) : bytes_{bytes} {}
  std::string_view bytes_;
};

class image {
public:
  explicit image(int fd) : it_{archive_write_new()} {
    auto* a = it_.get();
    good_ = archive_write_set_format_iso9660(a) == ARCHIVE_OK &&
            archive_write_set_format_option(a, "iso9660", "volume-id", label.data()) == ARCHIVE_OK &&
            archive_write_set_format_option(a, "iso9660", "pad", nullptr) == ARCHIVE_OK &&
            archive_write_set_bytes_per_block(a, 1 << 20) == ARCHIVE_OK && archive_write_open_fd(a, fd) == ARCHIVE_OK;
  }

  void add(const std::string& path, std::string_view bytes, mode_t mode) {
    for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
      if (folders_.insert(path.substr(0, slash)).second) put(path.substr(0, slash), {}, S_IFDIR | executable);
    put(path, bytes, S_IFREG | mode);
  }
  bool close() {
    good_ = good_ && archive_write_close(it_.get()) == ARCHIVE_OK;
    return good_;
  }
  std::string problem() const {
    auto* text = archive_error_string(it_.get());
    return text != nullptr ? text : "unknown";
  }

private:
  void put(const std::string& path, std::string_view bytes, mode_t mode) {
    std::unique_ptr<archive_entry, free_entry> entry{archive_entry_new()};
    archive_entry_set_pathname(entry.get(), path.c_str());
    archive_entry_set_mode(entry.get(), mode);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(bytes.size()));
    archive_entry_set_mtime(entry.get(), now_, 0);
    good_ = good_ && archive_write_header(it_.get(), entry.get()) == ARCHIVE_OK &&
            (bytes.empty() ||
             archive_write_data(it_.get(), bytes.data(), bytes.size()) == static_cast<la_ssize_t>(bytes.size()));
  }

  std::unique_ptr<archive, free_archive> it_;
  std::set<std::string> folders_;
  time_t now_ = ::time(nullptr);
  bool good_ = false;
};

bool is_plain(const std::string& path) {
  if (path.empty() || path.starts_with('/') || path.ends_with('/') || path.find('\0') != path.npos) return false;
  auto inside = "/" + path + "/";
  return inside.find("//") == inside.npos && inside.find("/../") == inside.npos && inside.find("/./") == inside.npos;
}

outcome<void> write_image(const unique_fd& to, const std::map<std::string, std::string>& files,
                          std::string_view agent) {
  image made{to.get()};
  for (auto& [path, text] : files) made.add(path, text, plain);
  for (auto& program : guest::seed_programs)
    made.add(std::string{program.path}, program.text, program.executable ? executable : plain);
  made.add("troupe-agent", agent, executable);
  if (!made.close()) return fail(fault::backend_failed, "Cannot write the config drive: " + made.problem());
  // The format wants capitals; cloud-init and all who look for it by its label take small letters.
  if (::pwrite(to.get(), label.data(), label.size(), label_at) != static_cast<ssize_t>(label.size()))
    return fail_errno(errno, "Cannot write the config drive");
  return {};
}

} // namespace

outcome<void> write_seed_drive(const std::string& path, const std::map<std::string, std::string>& files,
                               const std::string& agent_program) {
  for (auto& [name, text] : files)
    if (!is_plain(name)) return fail(fault::invalid, "The config drive has no place for a file " + name);
  auto agent = mapped_file::open(agent_program);
  if (!agent) return tl::unexpected{agent.error()};
  auto fresh = path + ".new";
  unique_fd to{::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  if (!to) return fail_errno(errno, "Cannot write the config drive");
  auto done = write_image(to, files, agent->bytes());
  if (done && ::rename(fresh.c_str(), path.c_str()) != 0) done = fail_errno(errno, "Cannot replace the config drive");
  if (!done) ::unlink(fresh.c_str());
  return done;
}

} // namespace troupe
