#include "backends/image/helper/backup_judge.hpp"

namespace troupe::unpack {
namespace {

constexpr std::string_view index_path = "backup/index.yaml", description = "backup.yaml", noun = "backup";
constexpr unpack_limits whole_limits{
    .bytes_max = uint64_t{1} << 40, .entries_max = 20'000'000, .path_max = 4096, .depth_max = 204};

bool is_below(std::string_view path, std::string_view directory) {
  return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

std::string_view below(std::string_view path, std::string_view directory) {
  return path.substr(std::min(directory.size() + 1, path.size()));
}

// What leads to the trees.
bool is_way(std::string_view path) { return path == "backup" || path == "backup/snapshots"; }

tl::unexpected<error> no_machines() {
  return fail(fault::unsupported, "Backups of virtual machines are not supported yet");
}

tl::unexpected<error> no_directory(std::string_view path) {
  return fail(fault::invalid, "The backup has a \"" + std::string{path} + "\" that is no directory");
}

} // namespace

backup_judge::backup_judge()
    : index_only_{true}, whole_{whole_limits, noun}, text_{std::string{index_path}}, wanted_{index_path} {}

backup_judge::backup_judge(std::vector<std::string> names, const std::vector<tree_sink*>& sinks, unpack_limits of_each)
    : index_only_{false}, whole_{whole_limits, noun}, text_{"backup/container/backup.yaml"},
      wanted_{"backup/container/backup.yaml"} {
  for (size_t i = 0; i < names.size(); ++i)
    trees_.push_back({"backup/" + std::move(names[i]), sinks[i], unpack_rules{of_each, noun}});
}

backup_judge::tree* backup_judge::tree_of(std::string_view path) {
  for (auto& each : trees_)
    if (is_below(path, each.path)) return &each;
  return nullptr;
}

outcome<std::optional<entry_judge::verdict>> backup_judge::judge(const archive_entry_facts& entry) {
  if (auto ok = whole_.count(entry); !ok) return tl::unexpected{ok.error()};
  auto path = whole_.normalise(archive_form::unified, entry.path);
  if (!path) return tl::unexpected{path.error()};
  if (*path == wanted_ || *path == index_path) return take_text(std::move(*path), entry);
  if (index_only_) return std::nullopt;
  if (is_below(*path, "backup/virtual-machine") || *path == "backup/virtual-machine.img") return no_machines();
  if (is_way(*path) && entry.kind != entry_kind::directory) return no_directory(*path);
  if (auto* to = tree_of(*path)) return into(*to, below(*path, to->path), entry);
  if (is_below(*path, "backup/snapshots") && *path != "backup/snapshots")
    return fail(fault::invalid, "The backup holds a snapshot that its index does not name");
  return std::nullopt;
}

// Two of them could say two things.
outcome<std::optional<entry_judge::verdict>> backup_judge::take_text(std::string path,
                                                                     const archive_entry_facts& entry) {
  auto& seen = path == wanted_ ? text_seen_ : index_seen_;
  if (entry.kind != entry_kind::file) return fail(fault::invalid, "\"" + path + "\" is no regular file");
  if (entry.size > metadata_size_max) return fail(fault::too_large, "\"" + path + "\" is larger than 1 MiB");
  if (std::exchange(seen, true)) return fail(fault::invalid, "The backup has more than one \"" + path + "\"");
  if (path != wanted_) return std::nullopt;
  return verdict{{std::move(path), {}, false}, &text_};
}

outcome<std::optional<entry_judge::verdict>> backup_judge::into(tree& to, std::string_view rest,
                                                                archive_entry_facts entry) {
  if (rest.empty()) {
    if (entry.kind != entry_kind::directory) return no_directory(to.path);
    return std::nullopt;
  }
  if (rest == description) { // of a snapshot: the container's says the same
    if (entry.kind != entry_kind::file) return fail(fault::invalid, "A backup.yaml is no regular file");
    return std::nullopt;
  }
  std::string link;
  if (entry.kind == entry_kind::hardlink) {
    auto target = whole_.normalise(archive_form::unified, entry.link);
    if (!target) return tl::unexpected{target.error()};
    if (!is_below(*target, to.path)) return fail(fault::invalid, "The backup has a hard link that leaves its tree");
    link = std::string{below(*target, to.path)};
    entry.link = link;
  }
  entry.path = rest;
  auto where = to.rules.admit(archive_form::unified, entry);
  if (!where) return tl::unexpected{where.error()};
  if (to.rules.virtual_machine()) return no_machines();
  if (!*where) return std::nullopt;
  return verdict{std::move(**where), to.sink};
}

outcome<void> backup_judge::finish() const {
  if (!text_seen_) return fail(fault::invalid, "The file is no backup: it has no \"" + wanted_ + "\"");
  for (auto& each : trees_)
    if (auto ok = each.rules.finish(true, false); !ok)
      return fail(fault::invalid, "The backup is not whole: \"" + each.path + "\" has no rootfs");
  return {};
}

} // namespace troupe::unpack
