#include "backends/storage/pool_layout.hpp"

#include "backends/storage/pool_config.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <memory>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <utility>

namespace troupe {
namespace {

struct fixed_directory {
  std::string_view name;
  mode_t mode;
  bool volumes;
};

// .trash is made last and removed first: it is the sign of a complete pool.
constexpr fixed_directory directories[] = {
    {"containers", 0711, true}, {"virtual-machines", 0700, true}, {"snapshots", 0700, true}, {"images", 0711, true},
    {"custom", 0700, true},     {".incomplete", 0700, false},     {".sealed", 0700, false},  {".trash", 0700, false},
};

bool is_ours(std::string_view name) {
  if (name == "lost+found") return true; // a fresh ext4
  return std::any_of(std::begin(directories), std::end(directories),
                     [name](const fixed_directory& d) { return d.name == name; });
}

bool is_kind(std::string_view kind) {
  return std::any_of(std::begin(directories), std::end(directories),
                     [kind](const fixed_directory& d) { return d.volumes && d.name == kind; });
}

bool is_safe_name(std::string_view name) {
  return !name.empty() && name.size() <= NAME_MAX && name.front() != '.' && name.front() != '-' &&
         std::none_of(name.begin(), name.end(), [](unsigned char c) { return c == '/' || c < 0x20 || c == 0x7f; });
}

bool is_there(const std::string& path) {
  struct stat found;
  return lstat(path.c_str(), &found) == 0;
}

int rename_without_replacing(const std::string& from, const std::string& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL) return errno;
  if (is_there(to)) return EEXIST; // a file system without that flag: the volume's owner is the only one here
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

// Begins the names of what this process makes. A pid alone may come again.
std::string process_mark() {
  static const std::string mark = random_uuid();
  return mark + '.' + std::to_string(getpid()) + '.';
}

outcome<void> move_to(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, "Cannot move " + from);
  return {};
}

} // namespace

outcome<unique_fd> open_directory(const std::string& path) {
  unique_fd fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open the directory " + path);
  return fd;
}

outcome<std::vector<std::string>> read_names(const std::string& directory) {
  auto fd = open_directory(directory);
  if (!fd) return tl::unexpected{fd.error()};
  std::unique_ptr<DIR, int (*)(DIR*)> stream{fdopendir(fd->get()), closedir};
  if (!stream) return fail_errno(errno, "Cannot read the directory " + directory);
  fd->release();
  std::vector<std::string> names;
  for (errno = 0; auto* entry = readdir(stream.get()); errno = 0)
    if (std::string_view name{entry->d_name}; name != "." && name != "..") names.emplace_back(name);
  if (errno != 0) return fail_errno(errno, "Cannot read the directory " + directory);
  return names;
}

staged_volume::staged_volume(std::string place, std::string grave) : path{std::move(place)}, trash{std::move(grave)} {}
staged_volume::staged_volume(staged_volume&& other) noexcept
    : path{std::exchange(other.path, {})}, trash{std::move(other.trash)} {}

// Published, nothing is there.
staged_volume::~staged_volume() {
  if (!path.empty()) static_cast<void>(::rename(path.c_str(), trash.c_str()));
}

pool_layout::pool_layout(std::string pool, std::string directory)
    : pool_{std::move(pool)}, directory_{std::move(directory)} {}

outcome<void> pool_layout::make() const {
  auto names = read_names(directory_);
  if (!names) return tl::unexpected{names.error()};
  if (auto foreign = std::find_if_not(names->begin(), names->end(), is_ours); foreign != names->end())
    return fail(fault::in_use, "The directory of storage pool " + pool_ + " is not empty, it holds " + *foreign);
  return make_directories();
}

outcome<void> pool_layout::make_directories() const {
  for (auto& row : directories) {
    auto path = directory_ + '/' + std::string{row.name};
    if (mkdir(path.c_str(), row.mode) != 0 && errno != EEXIST) return fail_errno(errno, "Cannot make " + path);
    if (chmod(path.c_str(), row.mode) != 0)
      return fail_errno(errno, "Cannot set the mode of " + path); // not the umask's
  }
  return {};
}

outcome<void> pool_layout::complete() const {
  auto made = require_made();
  return made ? make_directories() : made;
}

bool pool_layout::is_only_ours() const {
  auto names = read_names(directory_);
  return names && std::all_of(names->begin(), names->end(), is_ours);
}

outcome<void> pool_layout::unmake() const {
  for (auto& row : directories) {
    auto inside = row.volumes ? read_names(directory_ + '/' + std::string{row.name}) : std::vector<std::string>{};
    if (inside && !inside->empty())
      return fail(fault::in_use,
                  "The storage pool " + pool_ + " still holds " + std::string{row.name} + '/' + inside->front());
  }
  for (auto row = std::rbegin(directories); row != std::rend(directories); ++row) {
    auto path = directory_ + '/' + std::string{row->name};
    if (rmdir(path.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, "Cannot remove " + path);
  }
  return {};
}

outcome<void> pool_layout::require_made() const {
  if (is_there(trash())) return {};
  return fail(fault::wrong_state, "The storage pool " + pool_ + " is not there: nothing is mounted on " + directory_);
}

outcome<void> pool_layout::check(const volume_id& id) const {
  if (!is_kind(id.kind))
    return fail(fault::invalid,
                "A storage volume's kind must be containers, virtual-machines, snapshots, images or custom");
  if (!is_safe_name(id.name)) return fail(fault::invalid, "The name of a storage volume is not usable as a file name");
  return {};
}

std::string pool_layout::path(const volume_id& id) const { return directory_ + '/' + id.kind + '/' + id.name; }

outcome<bool> pool_layout::exists(const volume_id& id) const {
  if (auto checked = check(id); !checked) return tl::unexpected{checked.error()};
  if (is_there(path(id))) return true;
  if (auto made = require_made(); !made) return tl::unexpected{made.error()};
  return false;
}

outcome<std::vector<volume_id>> pool_layout::list() const {
  if (auto made = require_made(); !made) return tl::unexpected{made.error()};
  std::vector<volume_id> volumes;
  for (auto& row : directories) {
    if (!row.volumes) continue;
    auto names = read_names(directory_ + '/' + std::string{row.name});
    if (!names) return tl::unexpected{names.error()};
    for (auto& name : *names)
      if (is_safe_name(name)) volumes.push_back({std::string{row.name}, std::move(name)});
  }
  return volumes;
}

outcome<pool_space> pool_layout::space() const {
  if (auto made = require_made(); !made) return tl::unexpected{made.error()};
  struct statfs facts;
  if (statfs(directory_.c_str(), &facts) != 0) return fail_errno(errno, "Cannot measure " + directory_);
  auto block = static_cast<uint64_t>(facts.f_bsize);
  return pool_space{(facts.f_blocks - facts.f_bfree) * block, facts.f_blocks * block, facts.f_files - facts.f_ffree,
                    facts.f_files};
}

outcome<staged_volume> pool_layout::stage() const {
  if (auto made = require_made(); !made) return tl::unexpected{made.error()};
  auto name = process_mark() + random_uuid();
  return staged_volume{incomplete() + '/' + name, trash() + '/' + name};
}

outcome<void> pool_layout::publish(staged_volume staged, const volume_id& id) const {
  int error = rename_without_replacing(staged.path, path(id));
  if (error != 0 && error != EEXIST) return fail_errno(error, "Cannot move the new volume to " + path(id));
  return {};
}

outcome<void> pool_layout::rename(const volume_id& from, const volume_id& to) const {
  auto source = exists(from), target = exists(to);
  if (!source) return tl::unexpected{source.error()};
  if (!target) return tl::unexpected{target.error()};
  if (from.kind != to.kind) return fail(fault::invalid, "A storage volume cannot change its kind");
  if (from.kind == "images") return fail(fault::unsupported, "An image volume cannot be renamed");
  if (from == to && *source) return {};
  if (!*source && *target) return {};
  int error = rename_without_replacing(path(from), path(to));
  if (error == 0) return {};
  if (error == EEXIST) return fail(fault::already_exists, "The storage volume " + path(to) + " already exists");
  return fail_errno(error, "Cannot rename " + path(from));
}

outcome<void> pool_layout::discard(const volume_id& id) const {
  auto there = exists(id);
  if (!there) return tl::unexpected{there.error()};
  return *there ? move_to(path(id), trash() + '/' + random_uuid()) : outcome<void>{};
}

outcome<std::vector<std::string>> pool_layout::leftovers() const {
  auto names = read_names(incomplete());
  if (names) std::erase_if(*names, [ours = process_mark()](auto& name) { return name.starts_with(ours); });
  return names;
}

outcome<std::vector<std::string>> pool_layout::trash_entries() const { return read_names(trash()); }

outcome<unique_fd> pool_layout::lock_image(const volume_id& id, bool exclusive) const {
  auto claim = open_directory(path(id));
  if (!claim) return claim;
  while (flock(claim->get(), exclusive ? LOCK_EX | LOCK_NB : LOCK_SH) != 0) {
    if (errno == EWOULDBLOCK) return fail(fault::in_use, "The image volume " + path(id) + " is being cloned");
    if (errno != EINTR) return fail_errno(errno, "Cannot lock " + path(id));
  }
  struct stat held, there; // it may have gone to the trash while we waited
  bool same = fstat(claim->get(), &held) == 0 && lstat(path(id).c_str(), &there) == 0 && held.st_ino == there.st_ino &&
              held.st_dev == there.st_dev;
  if (!same) return fail(fault::not_found, "The image volume " + path(id) + " is gone");
  return claim;
}

} // namespace troupe
