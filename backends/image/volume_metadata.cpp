#include "backends/image/volume_metadata.hpp"

#include "backends/image/image_store.hpp"
#include "backends/image/template_engine.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <map>
#include <memory>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

namespace troupe {
namespace {

constexpr auto yaml_name = "metadata.yaml";
constexpr auto templates_name = "templates";

unique_fd open_beneath(int dir, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK));
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return unique_fd{static_cast<int>(::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how))};
}

outcome<std::string> read_whole(const unique_fd& file, const std::string& path) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) ||
      info.st_size > static_cast<off_t>(volume_metadata::template_bytes_max))
    return fail(fault::invalid, path + " of the image is no file of at most 1 MiB");
  std::string out(static_cast<size_t>(info.st_size), '\0');
  size_t have = 0;
  while (have < out.size()) {
    auto got = ::read(file.get(), out.data() + have, out.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<size_t>(got);
  }
  out.resize(have);
  return out;
}

/// In place of what has that name, at once.
outcome<void> replace_file(int dir, const std::string& name, std::string_view content) {
  auto fresh = "." + name + ".new";
  ::unlinkat(dir, fresh.c_str(), 0);
  unique_fd file{::openat(dir, fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644)};
  if (!file) return fail_errno(errno, "Cannot write " + name);
  for (auto left = content; !left.empty();) {
    auto put = ::write(file.get(), left.data(), left.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(errno, "Cannot write " + name);
    left.remove_prefix(static_cast<size_t>(put));
  }
  if (::fsync(file.get()) != 0 || ::renameat(dir, fresh.c_str(), dir, name.c_str()) != 0)
    return fail_errno(errno, "Cannot write " + name);
  return {};
}

/// Those that no layer above has.
outcome<void> list_into(std::map<std::string, bool>& found, int dir) {
  unique_fd copy{::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  std::unique_ptr<DIR, int (*)(DIR*)> list{copy ? ::fdopendir(copy.get()) : nullptr, ::closedir};
  if (!list) return fail_errno(errno, "Cannot list the templates");
  copy.release();
  while (auto* entry = ::readdir(list.get())) {
    struct stat info {};
    if (entry->d_name[0] == '.' || ::fstatat(dir, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISREG(info.st_mode) || S_ISCHR(info.st_mode)) found.emplace(entry->d_name, S_ISREG(info.st_mode));
  }
  return {};
}

outcome<void> check_template_name(const std::string& name) {
  bool bad = name.empty() || name.size() > 200 || name.front() == '.' || name.find('/') != name.npos ||
             std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (bad) return fail(fault::invalid, "Not a template's name: it must be a plain file name");
  return {};
}

/// Whoever changes a volume's metadata does it alone; falls with the descriptor.
outcome<unique_fd> lock_volume(int dir) {
  unique_fd held{::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!held || ::flock(held.get(), LOCK_EX) != 0) return fail_errno(errno, "Cannot lock the volume");
  return held;
}

outcome<std::string> to_yaml(schema::ImageMetadata::Reader from) {
  static const std::set<std::string_view> triggers{"create", "copy", "rename", "start"};
  YAML::Emitter out;
  auto pairs = [&](const char* name, capnp::List<schema::KeyValue>::Reader list) {
    out << YAML::Key << name << YAML::Value << YAML::BeginMap;
    for (auto one : list)
      out << YAML::Key << text(one.getKey()) << YAML::Value << YAML::DoubleQuoted << text(one.getValue());
    out << YAML::EndMap;
  };
  out << YAML::BeginMap << YAML::Key << "architecture" << YAML::Value << YAML::DoubleQuoted
      << text(from.getArchitecture());
  out << YAML::Key << "creation_date" << YAML::Value << from.getCreationDate();
  if (from.getExpiryDate() != 0) out << YAML::Key << "expiry_date" << YAML::Value << from.getExpiryDate();
  pairs("properties", from.getProperties());
  out << YAML::Key << "templates" << YAML::Value << YAML::BeginMap;
  for (auto entry : from.getTemplates()) {
    auto row = entry.getTemplate();
    out << YAML::Key << YAML::DoubleQuoted << text(entry.getPath()) << YAML::Value << YAML::BeginMap;
    out << YAML::Key << "when" << YAML::Value << YAML::BeginSeq;
    for (auto when : row.getWhen()) {
      if (!triggers.contains(view(when)))
        return fail(fault::invalid,
                    "Unknown trigger \"" + text(when) + "\" of the template of " + text(entry.getPath()));
      out << text(when);
    }
    out << YAML::EndSeq << YAML::Key << "create_only" << YAML::Value << row.getCreateOnly();
    out << YAML::Key << "template" << YAML::Value << YAML::DoubleQuoted << text(row.getTemplate());
    pairs("properties", row.getProperties());
    out << YAML::EndMap;
  }
  out << YAML::EndMap << YAML::EndMap;
  return std::string{out.c_str(), out.size()} + "\n";
}

} // namespace

outcome<volume_metadata> volume_metadata::open(const root_mount& root) {
  volume_metadata out;
  for (auto& path : root.lower.empty() ? std::vector{root.path} : std::vector{root.upper, root.lower}) {
    out.layers_.emplace_back(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!out.layers_.back()) return fail_errno(errno, "Cannot open the volume of the instance");
  }
  return out;
}

// A removed file of a lower layer is a device 0/0 in the upper one, as for overlayfs: opening that gives ENXIO.
outcome<std::string> volume_metadata::read_file(const std::string& folder, const std::string& path) const {
  for (auto& layer : layers_) {
    auto dir = open_beneath(layer.get(), folder, O_PATH | O_DIRECTORY);
    auto file = dir ? open_beneath(dir.get(), path, O_RDONLY) : unique_fd{};
    if (file) return read_whole(file, path);
    if (errno == ENXIO) break;
    if (errno == EXDEV) return fail(fault::invalid, path + " leads out of where the image's own files are");
    if (errno != ENOENT) return fail_errno(errno, "Cannot read " + path + " of the image");
  }
  return fail(fault::not_found, path + " is missing");
}

outcome<volume_metadata::metadata> volume_metadata::read() const {
  auto yaml = read_file(".", yaml_name);
  if (!yaml) return tl::unexpected{yaml.error()};
  return parse_metadata(*yaml);
}

outcome<void> volume_metadata::replace(const metadata& with, const metadata* expected) {
  auto held = lock_volume(top());
  if (!held) return tl::unexpected{held.error()};
  if (expected) {
    auto now = read();
    if (!now) return tl::unexpected{now.error()};
    if (now->bytes() != expected->bytes())
      return fail(fault::precondition, "The metadata was changed in the meantime (ETag does not match)");
  }
  auto yaml = with.read([](auto from) { return to_yaml(from); });
  if (!yaml) return tl::unexpected{yaml.error()};
  if (auto good = parse_metadata(*yaml); !good) return tl::unexpected{good.error()};
  return replace_file(top(), yaml_name, *yaml);
}

outcome<std::vector<std::string>> volume_metadata::templates() const {
  std::map<std::string, bool> found; // false: removed
  for (auto& layer : layers_) {
    auto dir = open_beneath(layer.get(), templates_name, O_PATH | O_DIRECTORY);
    if (!dir && errno != ENOENT) return fail_errno(errno, "Cannot list the templates");
    if (!dir) continue;
    if (auto listed = list_into(found, dir.get()); !listed) return tl::unexpected{listed.error()};
  }
  std::vector<std::string> names;
  for (auto& [name, is_there] : found)
    if (is_there) names.push_back(name);
  return names;
}

outcome<std::string> volume_metadata::read_template(const std::string& name) const {
  return read_file(templates_name, name).map_error([&](error why) {
    return why.code == fault::not_found ? error{fault::not_found, "Template \"" + name + "\" not found"} : why;
  });
}

outcome<unique_fd> volume_metadata::own_templates() {
  if (::mkdirat(top(), templates_name, 0755) != 0 && errno != EEXIST)
    return fail_errno(errno, "Cannot make the directory of templates");
  auto dir = open_beneath(top(), templates_name, O_PATH | O_DIRECTORY);
  if (!dir) return fail_errno(errno, "Cannot open the templates");
  return dir;
}

outcome<void> volume_metadata::write_template(const std::string& name, std::string_view content) {
  if (auto good = check_template_name(name); !good) return good;
  if (content.size() > template_bytes_max) return fail(fault::too_large, "A template has at most 1 MiB");
  if (auto good = check_template(content); !good) return good;
  auto held = lock_volume(top());
  if (!held) return tl::unexpected{held.error()};
  auto dir = own_templates();
  return dir ? replace_file(dir->get(), name, content) : tl::unexpected{dir.error()};
}

outcome<void> volume_metadata::remove_template(const std::string& name) {
  if (auto good = check_template_name(name); !good) return good;
  auto held = lock_volume(top());
  if (!held) return tl::unexpected{held.error()};
  if (auto there = read_template(name); !there) return tl::unexpected{there.error()};
  auto dir = own_templates();
  if (!dir) return tl::unexpected{dir.error()};
  if (::unlinkat(dir->get(), name.c_str(), 0) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot remove the template " + name);
  if (!read_template(name)) return {};
  if (::mknodat(dir->get(), name.c_str(), S_IFCHR, makedev(0, 0)) != 0) // the image has one, too
    return fail_errno(errno, "Cannot remove the template " + name);
  return {};
}

} // namespace troupe
