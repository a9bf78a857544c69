#include "backends/transfer/stream/receive_stream.hpp"

#include "backends/image/image_files.hpp"
#include "backends/image/unpack_rules.hpp"
#include "backends/storage/btrfs_subvolumes.hpp"
#include "backends/storage/pool_layout.hpp"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr int stream_at = 3, tree_at = 5, base_at = 6; // the helper's descriptors

outcome<unique_fd> open_tree_root(const std::string& path) {
  unique_fd fd{::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + path);
  return fd;
}

outcome<helper_call::order> order_of(stream_input stream, const std::string& directory, uint64_t bytes_max) {
  auto tree = open_tree_root(directory);
  std::error_code problem;
  auto self = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (!tree) return tl::unexpected{tree.error()};
  if (problem) return fail_errno(problem.value(), "Cannot find the helpers");
  helper_call::order out;
  out.noun = "receiver";
  out.words = {self.parent_path().string() + "/troupe-receive", std::to_string(getpid()), std::to_string(bytes_max)};
  out.descriptors.push_back({std::move(stream.file), stream_at});
  out.descriptors.push_back({std::move(*tree), tree_at});
  out.input = std::move(stream.feed);
  return out;
}

// The new volume begins as a snapshot of its base.
outcome<void> begin_as(const std::string& base, const std::string& directory) {
  auto slash = directory.rfind('/');
  auto above = open_directory(directory.substr(0, slash));
  auto made = open_directory(directory), from = open_directory(base);
  for (auto* each : {&above, &made, &from})
    if (!*each) return tl::unexpected{each->error()};
  if (!delete_subvolume(above->get(), directory.c_str() + slash + 1, made->get()))
    return fail_errno(errno, "Cannot make room for a snapshot at " + directory);
  return make_snapshot(from->get(), directory);
}

} // namespace

outcome<std::optional<std::string>> settle_received(const std::string& directory) {
  auto volume = open_directory(directory);
  if (!volume) return tl::unexpected{volume.error()};
  unique_fd root{openat(volume->get(), "rootfs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!root) return fail(fault::invalid, "What was sent holds no directory rootfs");
  unique_fd file{openat(volume->get(), "backup.yaml", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  if (!file && errno == ENOENT) return std::nullopt;
  struct stat facts {};
  if (!file || fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode))
    return fail(fault::invalid, "The backup.yaml is no regular file");
  if (static_cast<uint64_t>(facts.st_size) > metadata_size_max)
    return fail(fault::too_large, "The backup.yaml is larger than 1 MiB");
  std::string text(static_cast<size_t>(facts.st_size), '\0');
  auto got = read_at(file, 0, text.data(), text.size());
  if (!got) return tl::unexpected{got.error()};
  text.resize(*got);
  if (unlinkat(volume->get(), "backup.yaml", 0) != 0) return fail_errno(errno, "Cannot remove the backup.yaml");
  return text;
}

outcome<std::optional<std::string>> stream_series::receive(stream_input stream, const volume_id& into,
                                                           const progress_sink& progress, const cancel_token* stop) {
  if (into.kind == "virtual-machines")
    return fail(fault::unsupported, "Virtual machines cannot be received as streams yet");
  if (driver_.traits().name != "btrfs") return fail(fault::unsupported, "Only btrfs pools receive streams");
  std::optional<std::string> id, description;
  auto fill = [&](const std::string& directory) -> outcome<void> {
    if (last_)
      if (auto begun = begin_as(driver_.path(last_->volume), directory); !begun) return begun;
    auto what = order_of(std::move(stream), directory, bytes_max_);
    if (!what) return tl::unexpected{what.error()};
    what->words.push_back(last_ ? last_->id : "-");
    if (last_) {
      auto base = open_tree_root(driver_.path(last_->volume));
      if (!base) return tl::unexpected{base.error()};
      what->descriptors.push_back({std::move(*base), base_at});
    }
    auto call = helper_call::start(std::move(*what));
    if (!call) return tl::unexpected{call.error()};
    auto found = call->wait(progress, stop);
    if (!found) return tl::unexpected{found.error()};
    id = std::move(found->text);
    auto settled = settle_received(directory);
    if (!settled) return tl::unexpected{settled.error()};
    description = std::move(*settled);
    return {};
  };
  if (auto done = driver_.fill_volume(into, fill); !done) return tl::unexpected{done.error()};
  if (!id) return fail(fault::already_exists, "The volume " + into.kind + "/" + into.name + " is there already");
  last_ = received{into, std::move(*id)};
  return description;
}

} // namespace troupe
