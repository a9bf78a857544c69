#include "actors/backup_steps.hpp"

#include "actors/instance_backup.hpp"
#include "actors/instance_snapshot.hpp"
#include "actors/pools.hpp"
#include "backends/image/archives.hpp"
#include "backends/image/bounded_yaml.hpp"
#include "backends/image/image_files.hpp"
#include "backends/image/volume_metadata.hpp"
#include "backends/storage/btrfs_send.hpp"
#include "backends/storage/size.hpp"
#include "backends/transfer/stream/receive_stream.hpp"

#include <cerrno>
#include <fcntl.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

namespace troupe {
namespace {

constexpr mode_t ours_only = 0700;
constexpr uint64_t stream_bytes_max = uint64_t{64} << 30; // as of other archives

outcome<driver_ptr> driver_of(const services& with, const snapshot& records, std::string_view pool) {
  auto found = load<schema::PoolSpec>(records, table::pools, pool);
  auto driver = found ? found->read([&](schema::PoolSpec::Reader p) {
    return make_driver(with, text(p.getName()), text(p.getDriver()), to_map(p.getConfig()));
  })
                      : nullptr;
  if (!driver) return fail(fault::not_found, "Storage pool not found");
  return driver;
}

outcome<unique_fd> open_folder(const services& with) {
  auto folder = backup_path(with, "");
  if (mkdir(folder.c_str(), ours_only) != 0 && errno != EEXIST) return fail_errno(errno, "Cannot make " + folder);
  unique_fd fd{open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + folder);
  return fd;
}

outcome<archive_part> tree_part(storage_driver& driver, std::string name, const std::string& volume) {
  auto root = driver.root(volume_named(volume));
  if (!root) return tl::unexpected{root.error()};
  archive_part out{std::move(name)};
  out.volume = std::move(*root);
  return out;
}

archive_part text_part(std::string name, std::string content) {
  archive_part out{std::move(name)};
  out.content = std::move(content);
  return out;
}

// A tree and the volume that it is made of, snapshots first.
struct source {
  std::string name, snapshot; // "backup/container", ""
  std::string volume;
};

std::vector<source> sources_of(const saga_step& step, const std::vector<snapshot_record>& snapshots) {
  std::vector<source> out;
  for (auto& taken : snapshots) {
    auto name = taken.read([](auto s) { return text(s.getName()); });
    out.push_back({"backup/snapshots/" + name, name, volume_of(taken)});
  }
  out.push_back({"backup/container", "", std::string{get(step.args, "from")}});
  return out;
}

outcome<void> add_trees(std::vector<archive_part>& out, storage_driver& driver, const std::vector<source>& from) {
  for (auto& each : from) {
    auto part = tree_part(driver, each.name, each.volume);
    if (!part) return tl::unexpected{part.error()};
    out.push_back(std::move(*part));
  }
  return {};
}

// Streams of subvolumes, each against the one before, and a list of them.
outcome<void> add_streams(const services& with, std::vector<archive_part>& out, storage_driver& driver,
                          const std::vector<source>& from) {
  auto list = nlohmann::json::array();
  std::vector<archive_part> streams;
  std::string parent;
  for (auto& each : from) {
    auto path = driver.path(volume_named(each.volume));
    auto uuid = subvolume_uuid(path);
    auto file = unnamed_file(with.dir.spool);
    if (!uuid) return tl::unexpected{uuid.error()};
    if (!file) return tl::unexpected{file.error()};
    if (auto sent = send_subvolume(path, std::exchange(parent, path), *file); !sent) return sent;
    list.push_back({{"path", "/"}, {"snapshot", each.snapshot}, {"readonly", !each.snapshot.empty()}, {"uuid", *uuid}});
    archive_part part{each.name + ".bin"};
    part.file = std::move(*file);
    streams.push_back(std::move(part));
  }
  out.push_back(text_part("backup/optimized_header.yaml", yaml_of_json({{"subvolumes", list}})));
  std::move(streams.begin(), streams.end(), std::back_inserter(out));
  return {};
}

outcome<std::vector<archive_part>> parts_of(const services& with, const snapshot& records, storage_driver& driver,
                                            const saga_step& step, schema::InstanceSpec::Reader instance) {
  bool optimized = is_true(get(step.args, "optimized"));
  std::vector<snapshot_record> snapshots;
  if (!is_true(get(step.args, "instance_only")))
    snapshots = snapshots_of(records, view(instance.getProject()), view(instance.getName()));
  auto texts = describe_backup(records, instance, snapshots, optimized);
  std::vector<archive_part> out;
  out.push_back(text_part("backup/index.yaml", std::move(texts.index))); // first: readers look no further
  auto from = sources_of(step, snapshots);
  if (!optimized) out.push_back(text_part("backup/container/backup.yaml", std::move(texts.description)));
  auto added = optimized ? add_streams(with, out, driver, from) : add_trees(out, driver, from);
  if (!added) return tl::unexpected{added.error()};
  return out;
}

backup_record record_of(const saga_step& step, uint64_t size) {
  auto has = [&](std::string_view key) { return is_true(get(step.args, key)); };
  return backup_record::make([&](schema::BackupSpec::Builder b) {
    b.setName(std::string{get(step.args, "backup")});
    b.setCreatedAt(now_ns());
    b.setExpiresAt(std::strtoll(std::string{get(step.args, "expires_at")}.c_str(), nullptr, 10));
    b.setInstanceOnly(has("instance_only"));
    b.setContainerOnly(has("instance_only"));
    b.setOptimizedStorage(has("optimized"));
    b.setCompression(std::string{get(step.args, "compression")});
    b.setFile(std::string{get(step.args, "file")});
    b.setSize(size);
  });
}

// What an image or a backup brings is read at every start: what cannot be is refused now.
outcome<void> check_metadata(storage_driver& driver, const std::string& volume) {
  auto root = driver.root(volume_named(volume));
  if (!root) return tl::unexpected{root.error()};
  auto opened = volume_metadata::open(*root);
  if (!opened) return tl::unexpected{opened.error()};
  auto read = opened->read();
  return read || read.error().code == fault::not_found ? outcome<void>{} : tl::unexpected{read.error()};
}

using description_text = std::optional<std::string>;

outcome<void> check_beside(const backup_index& index, const description_text& beside) {
  if (!beside) return {}; // streams of ours have none: nothing could disagree
  auto description = parse_backup_description(*beside);
  if (!description) return tl::unexpected{description.error()};
  return check_same(index.what, *description);
}

outcome<description_text> unpack_trees(storage_driver& driver, const started_import& from,
                                       const progress_sink& progress, const cancel_token& stop) {
  std::vector<backup_target> targets;
  for (auto& each : from.targets) targets.push_back({each.tree, driver.path(volume_named(each.volume))});
  auto beside = unpack_backup(*from.what.file, targets, progress, &stop);
  return beside ? outcome<description_text>{std::move(*beside)} : tl::unexpected{beside.error()};
}

struct unpacked_stream {
  std::string volume; // where it goes
  unique_fd file;
};

// In the order in which they build on each other: snapshots first.
outcome<std::vector<unpacked_stream>> unpack_all_streams(const services& with, const started_import& from,
                                                         const progress_sink& progress, const cancel_token& stop) {
  std::vector<std::string> trees, volumes;
  for (bool snapshots : {true, false})
    for (auto& each : from.targets)
      if (each.tree.starts_with("snapshots/") == snapshots) {
        trees.push_back(each.tree);
        volumes.push_back(each.volume);
      }
  std::vector<unique_fd> files;
  for (size_t i = 0; i < trees.size(); ++i) {
    auto file = unnamed_file(with.dir.spool);
    if (!file) return tl::unexpected{file.error()};
    files.push_back(std::move(*file));
  }
  auto header = unpack_streams(*from.what.file, trees, files, progress, &stop);
  if (!header) return tl::unexpected{header.error()};
  if (auto good = check_streams(*header); !good) return tl::unexpected{good.error()};
  std::vector<unpacked_stream> out;
  for (size_t i = 0; i < volumes.size(); ++i) out.push_back({std::move(volumes[i]), std::move(files[i])});
  return out;
}

outcome<void> limit_received(storage_driver& driver, const volume_id& volume, std::string_view size) {
  if (size.empty()) return {};
  auto bytes = parse_size(size);
  if (!bytes) return tl::unexpected{bytes.error()};
  auto used = driver.usage(volume);
  if (used && *used > *bytes) return fail(fault::too_large, "The backup does not fit into the root disk's size");
  return driver.limit_volume(volume, *bytes);
}

// The volumes are there, empty, so that undoing finds them; each is made anew, complete, by its stream.
outcome<description_text> receive_streams(const services& with, storage_driver& driver, const saga_step& step,
                                          const started_import& from, const progress_sink& progress,
                                          const cancel_token& stop) {
  auto streams = unpack_all_streams(with, from, progress, stop);
  if (!streams) return tl::unexpected{streams.error()};
  stream_series series{driver, stream_bytes_max};
  description_text beside;
  for (auto& each : *streams) {
    auto volume = volume_named(each.volume);
    if (auto gone = driver.destroy_volume(volume); !gone) return tl::unexpected{gone.error()};
    if (lseek(each.file.get(), 0, SEEK_SET) != 0) return fail_errno(errno, "Cannot read the stream");
    auto came = series.receive({std::move(each.file)}, volume, progress, &stop);
    if (!came) return tl::unexpected{came.error()};
    if (volume.kind == "containers") beside = std::move(*came);
  }
  static_cast<void>(driver.empty_trash()); // what is left goes with the next
  if (auto fits = limit_received(driver, volume_named(streams->back().volume), get(step.args, "size")); !fits)
    return tl::unexpected{fits.error()};
  return beside;
}

} // namespace

outcome<step_result_ptr> pack_backup(const services& with, const saga_step& step, const progress_sink& progress,
                                     const cancel_token& stop) {
  auto records = with.db.read();
  auto project = get(step.args, "project"), name = get(step.args, "name");
  auto spec = load<schema::InstanceSpec>(records, table::instances, in_project(project, name));
  if (!spec) return fail(fault::not_found, "Instance not found");
  auto driver = driver_of(with, records, get(step.args, "pool"));
  auto how = parse_compression(get(step.args, "compression"));
  auto folder = open_folder(with);
  if (!driver) return tl::unexpected{driver.error()};
  if (!how) return tl::unexpected{how.error()};
  if (!folder) return tl::unexpected{folder.error()};
  auto parts = spec->read([&](auto instance) { return parts_of(with, records, **driver, step, instance); });
  if (!parts) return tl::unexpected{parts.error()};
  std::string file{get(step.args, "file")};
  unique_fd into{openat(folder->get(), file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!into) return fail_errno(errno, "Cannot make the file of the backup");
  auto packed = pack_archive(std::move(*parts), *how, into, progress, &stop);
  if (!packed) return tl::unexpected{packed.error()};
  if (fsync(folder->get()) != 0) return fail_errno(errno, "Cannot write the backup to disk");
  auto result = std::make_shared<step_result>();
  auto record = record_of(step, packed->size);
  result->more.writes.push_back(put(backups_table, backup_key(project, name, get(step.args, "backup")), record));
  return result;
}

outcome<step_result_ptr> unpack_import(const services& with, const saga_step& step, const started_import& from,
                                       const progress_sink& progress, const cancel_token& stop) {
  auto driver = driver_of(with, with.db.read(), get(step.args, "pool"));
  if (!driver) return tl::unexpected{driver.error()};
  auto beside = from.what.index->optimized ? receive_streams(with, **driver, step, from, progress, stop)
                                           : unpack_trees(**driver, from, progress, stop);
  if (!beside) return tl::unexpected{beside.error()};
  if (auto good = check_beside(*from.what.index, *beside); !good) return tl::unexpected{good.error()};
  for (auto& each : from.targets) {
    if (auto good = check_metadata(**driver, each.volume); !good) return tl::unexpected{good.error()};
    // What came as a stream is sealed.
    if (auto id = volume_named(each.volume); id.kind == "snapshots" && !from.what.index->optimized)
      if (auto sealed = (*driver)->seal_volume(id); !sealed) return tl::unexpected{sealed.error()};
  }
  return std::make_shared<step_result>();
}

outcome<void> forget_backup(const services& with, const saga_step& step) {
  auto path = backup_path(with, get(step.args, "file"));
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, "Cannot remove the file of the backup");
  return {};
}

} // namespace troupe
