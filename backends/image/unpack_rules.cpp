#include "backends/image/unpack_rules.hpp"

#include "backends/storage/root_disk.hpp"

namespace troupe {
namespace {

enum class area : uint8_t { metadata, templates, rootfs, disk, ignored };

/// For messages: archives may hold any bytes in names.
std::string shown(std::string_view path) {
  std::string out = "\"";
  for (unsigned char c : path.substr(0, 200)) out += c < 0x20 || c == 0x7f ? '?' : static_cast<char>(c);
  return out + (path.size() > 200 ? "...\"" : "\"");
}

area area_of(std::string_view path) {
  auto first = path.substr(0, path.find('/'));
  if (path == "metadata.yaml") return area::metadata;
  if (path == "rootfs.img") return area::disk;
  if (first == "templates") return area::templates;
  if (first == "rootfs") return area::rootfs;
  return area::ignored;
}

} // namespace

outcome<std::string> unpack_rules::normalise(archive_form form, std::string_view path) const {
  if (path.empty()) return fail(fault::invalid, the_ + " has an entry without a name");
  if (path.front() == '/') return fail(fault::invalid, the_ + " has an absolute path, " + shown(path));
  if (path.size() > limits_.path_max)
    return fail(fault::too_large, the_ + " has a path that is too long, " + shown(path));
  if (path.find('\0') != path.npos) return fail(fault::invalid, the_ + " has a zero byte in the name " + shown(path));
  std::string out = form == archive_form::rootfs ? "rootfs" : "";
  size_t depth = 0;
  while (!path.empty()) {
    auto part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size() == path.size() ? part.size() : part.size() + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(fault::invalid, the_ + " has a path that leaves it, " + shown(out + "/.."));
    if (part.size() > 255) return fail(fault::invalid, the_ + " has a name longer than 255 bytes, " + shown(part));
    if (++depth > limits_.depth_max) return fail(fault::too_large, the_ + " nests directories too deep, " + shown(out));
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

outcome<void> unpack_rules::count(const archive_entry_facts& entry) {
  if (++entries_ > limits_.entries_max)
    return fail(fault::too_large, the_ + " has more than " + std::to_string(limits_.entries_max) + " entries");
  if (entry.kind != entry_kind::file) return {};
  if (entry.size > limits_.bytes_max - bytes_)
    return fail(fault::too_large, the_ + " unpacks to more than " + std::to_string(limits_.bytes_max) + " bytes");
  bytes_ += entry.size;
  return {};
}

outcome<std::optional<placement>> unpack_rules::admit(archive_form form, const archive_entry_facts& entry) {
  if (auto ok = count(entry); !ok) return tl::unexpected{ok.error()};
  auto path = normalise(form, entry.path);
  if (!path) return tl::unexpected{path.error()};
  switch (area_of(*path)) {
    case area::ignored:
      return std::nullopt;
    case area::disk:
      if (form != archive_form::unified) return std::nullopt;
      if (entry.kind != entry_kind::file)
        return fail(fault::invalid, the_ + " has a \"rootfs.img\" that is no regular file");
      virtual_machine_ = true;
      path = root_disk_name;
      break;
    case area::metadata:
      if (entry.kind != entry_kind::file) return fail(fault::invalid, "metadata.yaml in the image is no regular file");
      if (entry.size > metadata_size_max)
        return fail(fault::too_large, "metadata.yaml in the image is larger than 1 MiB");
      break;
    case area::templates:
      // Templates are read by the daemon: nothing there may point elsewhere.
      if (entry.kind != entry_kind::file && entry.kind != entry_kind::directory)
        return fail(fault::invalid, "The image's template " + shown(*path) + " is no regular file");
      if (*path == "templates" && entry.kind != entry_kind::directory)
        return fail(fault::invalid, the_ + " has a \"templates\" that is no directory");
      break;
    case area::rootfs:
      if (form == archive_form::metadata) return std::nullopt;
      if (*path == "rootfs" && entry.kind != entry_kind::directory)
        return fail(fault::invalid, the_ + " has a \"rootfs\" that is no directory");
      break;
  }
  return place(std::move(*path), entry, form);
}

outcome<void> unpack_rules::claim_parents(std::string_view path) {
  auto cut = path.rfind('/');
  if (cut == path.npos) return {};
  auto parent = path.substr(0, cut);
  if (parent == last_parent_) return {};
  for (size_t end = parent.find('/');; end = parent.find('/', end + 1)) {
    std::string prefix{parent.substr(0, end)};
    auto [at, added] = known_.try_emplace(prefix, entry_kind::directory);
    if (at->second != entry_kind::directory)
      return fail(fault::invalid,
                  the_ + " puts " + shown(path) + " below " + shown(prefix) + ", which is no directory");
    if (end == parent.npos) break;
  }
  last_parent_ = parent;
  return {};
}

outcome<std::optional<placement>> unpack_rules::place(std::string path, const archive_entry_facts& entry,
                                                      archive_form form) {
  placement out;
  auto kind = entry.kind;
  if (kind == entry_kind::symlink) {
    if (entry.link.empty() || entry.link.size() > limits_.path_max || entry.link.find('\0') != entry.link.npos)
      return fail(fault::invalid, the_ + " has a broken symbolic link, " + shown(path));
    out.link = entry.link;
  }
  if (kind == entry_kind::hardlink) {
    auto target = normalise(form, entry.link);
    if (!target) return tl::unexpected{target.error()};
    auto at = known_.find(*target);
    if (at == known_.end() || at->second == entry_kind::directory || area_of(*target) != area::rootfs)
      return fail(fault::invalid,
                  the_ + " links " + shown(path) + " to " + shown(*target) + ", which is no earlier file of its root");
    if (*target == path) return std::nullopt;
    kind = at->second; // a link to a device that was left out is left out
    out.link = std::move(*target);
  }
  if (auto ok = claim_parents(path); !ok) return tl::unexpected{ok.error()};
  auto [at, added] = known_.try_emplace(path, kind);
  if (!added) {
    const auto before = at->second;
    if (before == entry_kind::directory && kind != entry_kind::directory)
      return fail(fault::invalid, the_ + " puts something in the place of its directory " + shown(path));
    out.replaces = before != entry_kind::directory && before != entry_kind::skipped;
    // Left out, but not what it was before either: the earlier entry stays.
    if (kind == entry_kind::skipped) return std::nullopt;
    at->second = kind;
  }
  if (kind == entry_kind::skipped) return std::nullopt;
  out.path = std::move(path);
  return out;
}

outcome<void> unpack_rules::finish(bool needs_rootfs, bool needs_metadata) const {
  if (needs_metadata && !known_.contains("metadata.yaml"))
    return fail(fault::invalid, "The file is no image: it has no metadata.yaml");
  const bool rootfs = known_.contains("rootfs");
  if (rootfs && virtual_machine_) return fail(fault::invalid, the_ + " has both a rootfs and a rootfs.img");
  if (needs_rootfs && !rootfs && !virtual_machine_)
    return fail(fault::invalid, "The file is no image: it has neither rootfs nor rootfs.img");
  return {};
}

} // namespace troupe
