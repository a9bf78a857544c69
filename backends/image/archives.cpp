#include "backends/image/archives.hpp"

#include "backends/image/helper_call.hpp"
#include "backends/image/image_files.hpp"
#include "backends/image/sha256.hpp"
#include "backends/image/unpack_rules.hpp"
#include "backends/storage/root_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr int archive_at = 3, first_part = 4, first_target = 5; // the helpers' descriptors
constexpr int pipe_bytes = 1 << 20;

struct algorithm_row {
  std::string_view name;
  int least, most; // level; 0, 0: there is none to choose
};
constexpr algorithm_row algorithms[] = {{"none", 0, 0}, {"gzip", 1, 9}, {"bzip2", 1, 9},
                                        {"lzma", 1, 9}, {"xz", 1, 9},   {"zstd", 1, 19}};

outcome<unique_fd> file_with(const std::string& name, const std::string& content) {
  unique_fd file{memfd_create(name.c_str(), MFD_CLOEXEC)};
  if (!file) return fail_errno(errno, "Cannot make " + name);
  for (size_t done = 0; done < content.size();) {
    auto n = ::write(file.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "Cannot make " + name);
    done += static_cast<size_t>(n);
  }
  return file;
}

outcome<unique_fd> open_tree_root(const std::string& path) {
  unique_fd fd{::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + path);
  return fd;
}

outcome<void> add_tree(helper_call::order& what, const std::string& prefix, const root_mount& volume, int& next) {
  bool overlay = !volume.lower.empty();
  if (!overlay && has_root_disk(volume.path))
    return fail(fault::unsupported, "A virtual machine cannot be packed into an archive yet");
  what.words.push_back((overlay ? "overlay=" : "tree=") + prefix);
  for (auto& path : overlay ? std::vector{volume.upper, volume.lower} : std::vector{volume.path}) {
    auto fd = open_tree_root(path);
    if (!fd) return tl::unexpected{fd.error()};
    what.descriptors.push_back({std::move(*fd), next++});
  }
  return {};
}

outcome<void> add_part(helper_call::order& what, archive_part part, int& next) {
  if (part.volume) return add_tree(what, part.name, *part.volume, next);
  what.words.push_back("file=" + part.name);
  auto file = part.content ? file_with("part", *part.content) : outcome<unique_fd>{std::move(part.file)};
  if (!file) return tl::unexpected{file.error()};
  what.descriptors.push_back({std::move(*file), next++});
  return {};
}

outcome<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "Cannot write the archive");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

/// The helpers lie beside the program that we are.
outcome<std::string> helper(const char* name) {
  std::error_code problem;
  auto self = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (problem) return fail_errno(problem.value(), "Cannot find the helpers");
  return self.parent_path().string() + '/' + name;
}

outcome<helper_call::order> unpacker(const char* mode, const unique_fd& archive) {
  auto program = helper("troupe-unpack");
  auto file = read_only_as(archive.get(), archive_at);
  if (!program) return tl::unexpected{program.error()};
  if (!file) return tl::unexpected{file.error()};
  helper_call::order out;
  out.noun = "backup unpacker";
  out.words = {*program, mode, "backup", std::to_string(getpid()), std::to_string(unpack_limits{}.bytes_max)};
  out.descriptors.push_back(std::move(*file));
  return out;
}

outcome<std::string> run(helper_call::order what, const progress_sink& progress, const cancel_token* stop) {
  auto call = helper_call::start(std::move(what));
  if (!call) return tl::unexpected{call.error()};
  auto found = call->wait(progress, stop);
  if (!found) return tl::unexpected{found.error()};
  return std::move(found->text);
}

} // namespace

outcome<compression> parse_compression(std::string_view text) {
  auto dash = text.find('-');
  auto name = text.substr(0, dash);
  auto row = std::find_if(std::begin(algorithms), std::end(algorithms), [&](auto& each) { return each.name == name; });
  if (text == "squashfs") return fail(fault::unsupported, "Compression \"squashfs\" is not supported yet");
  auto invalid = [&] {
    return fail(fault::invalid, "\"" + std::string{text} +
                                    "\" is no compression: it is none, gzip, bzip2, lzma, xz or zstd, and may have a "
                                    "level as in \"zstd-19\"");
  };
  if (row == std::end(algorithms)) return invalid();
  compression out{std::string{name}};
  if (dash == text.npos) return out;
  auto level = text.substr(dash + 1);
  auto [end, problem] = std::from_chars(level.data(), level.data() + level.size(), out.level);
  if (problem != std::errc{} || end != level.data() + level.size() || out.level < row->least || out.level > row->most ||
      row->most == 0)
    return invalid();
  return out;
}

outcome<packed_archive> pack_archive(std::vector<archive_part> parts, const compression& how, const unique_fd& into,
                                     const progress_sink& progress, const cancel_token* stop) {
  auto program = helper("troupe-pack");
  if (!program) return tl::unexpected{program.error()};
  packed_archive out;
  sha256_sum sum;
  helper_call::order what;
  what.noun = "packer";
  what.words = {*program, std::to_string(getpid()), std::to_string(unpack_limits{}.bytes_max), how.algorithm,
                std::to_string(how.level)};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot start the packer");
  what.output.reset(ends[0]);
  what.descriptors.push_back({unique_fd{ends[1]}, archive_at});
  static_cast<void>(fcntl(ends[0], F_SETPIPE_SZ, pipe_bytes)); // a smaller one does as well
  what.take = [&](std::string_view bytes) {
    sum.add(bytes.data(), bytes.size());
    out.size += bytes.size();
    return write_all(into.get(), bytes);
  };
  int next = first_part;
  for (auto& each : parts)
    if (auto added = add_part(what, std::move(each), next); !added) return tl::unexpected{added.error()};
  if (auto done = run(std::move(what), progress, stop); !done) return tl::unexpected{done.error()};
  if (fsync(into.get()) != 0) return fail_errno(errno, "Cannot write the archive to disk");
  out.sha256 = sum.hex();
  return out;
}

outcome<std::string> read_backup_index(const unique_fd& archive, const cancel_token* stop) {
  auto what = unpacker("index", archive);
  return what ? run(std::move(*what), nullptr, stop) : tl::unexpected{what.error()};
}

outcome<std::string> unpack_backup(const unique_fd& archive, const std::vector<backup_target>& targets,
                                   const progress_sink& progress, const cancel_token* stop) {
  auto what = unpacker("unpack", archive);
  if (!what) return tl::unexpected{what.error()};
  int next = first_target;
  for (auto& each : targets) {
    auto fd = open_tree_root(each.directory);
    if (!fd) return tl::unexpected{fd.error()};
    what->words.push_back(each.tree);
    what->descriptors.push_back({std::move(*fd), next++});
  }
  return run(std::move(*what), progress, stop);
}

outcome<std::string> unpack_streams(const unique_fd& archive, const std::vector<std::string>& trees,
                                    const std::vector<unique_fd>& files, const progress_sink& progress,
                                    const cancel_token* stop) {
  auto what = unpacker("streams", archive);
  if (!what) return tl::unexpected{what.error()};
  int next = first_target;
  for (size_t i = 0; i < trees.size(); ++i) {
    auto file = same_as(files[i].get(), next++);
    if (!file) return tl::unexpected{file.error()};
    what->words.push_back(trees[i]);
    what->descriptors.push_back(std::move(*file));
  }
  return run(std::move(*what), progress, stop);
}

} // namespace troupe
