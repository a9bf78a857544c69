#include "backends/image/image_store.hpp"

#include "backends/image/disk_convert.hpp"
#include "backends/image/helper_call.hpp"
#include "backends/image/image_files.hpp"
#include "backends/image/image_format.hpp"
#include "backends/image/qcow2_header.hpp"
#include "backends/image/sha256.hpp"
#include "backends/storage/root_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr std::string_view root_suffix = ".rootfs";
constexpr size_t hash_block = 1 << 20;
constexpr const char* packed_disk = ".root.qcow2"; // in a volume while it is converted

outcome<image_format> format_in(const unique_fd& file) {
  char head[format_head_size];
  auto n = read_at(file, 0, head, sizeof head);
  if (!n) return tl::unexpected{n.error()};
  return format_of({head, *n});
}

outcome<void> add_file(sha256_sum& sum, const unique_fd& file, uint64_t base, uint64_t total,
                       const progress_sink& progress, const cancel_token* stop) {
  std::vector<char> block(hash_block);
  for (uint64_t offset = 0;;) {
    auto n = read_at(file, offset, block.data(), block.size());
    if (!n) return tl::unexpected{n.error()};
    if (*n == 0) return {};
    if (stop && stop->cancelled()) return fail(fault::cancelled, "Reading the image was cancelled");
    sum.add(block.data(), *n);
    offset += *n;
    if (progress) progress(std::min(base + offset, total), total);
  }
}

outcome<disk_facts> judge_file(const unique_fd& file, uint64_t size_max) {
  char head[qcow2_head_size];
  auto size = size_of(file);
  if (!size) return tl::unexpected{size.error()};
  auto n = read_at(file, 0, head, sizeof head);
  if (!n) return tl::unexpected{n.error()};
  return judge_disk({head, *n}, *size, size_max);
}

/// What can be said without reading an archive: whether the second file is a disk, and then its size.
outcome<uint64_t> check_formats(const image_upload& upload, uint64_t disk_max) {
  auto first = format_in(upload.metadata);
  if (!first) return tl::unexpected{first.error()};
  if (!is_tar(*first))
    return fail(fault::invalid,
                upload.rootfs ? "The metadata of the image is no tarball" : "The file is no image: it is no tarball");
  if (!upload.rootfs) return 0;
  auto second = format_in(upload.rootfs);
  if (!second) return tl::unexpected{second.error()};
  if (*second == image_format::unknown)
    return fail(fault::invalid, "The root file system of the image is neither a squashfs, a tarball nor a qcow2 disk");
  if (*second != image_format::qcow2) return 0;
  auto disk = judge_file(upload.rootfs, disk_max);
  return disk ? outcome<uint64_t>{disk->size} : tl::unexpected{disk.error()};
}

outcome<unique_fd> open_directory(const std::string& path) {
  unique_fd fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + path);
  return fd;
}

outcome<unique_fd> open_disk(const unique_fd& volume) {
  unique_fd fd{openat(volume.get(), root_disk_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open the disk of the image");
  return fd;
}

outcome<void> sync(const unique_fd& fd, const std::string& what) {
  if (fsync(fd.get()) != 0) return fail_errno(errno, "Cannot write " + what + " to disk");
  return {};
}

/// Names `file`, whose content is on disk first: a name in the store always means a whole file.
outcome<void> link_file(const unique_fd& directory, const std::string& path, const unique_fd& file,
                        const std::string& name) {
  auto wanted = size_of(file);
  if (!wanted) return tl::unexpected{wanted.error()};
  struct stat there {};
  if (fstatat(directory.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0) {
    if (static_cast<uint64_t>(there.st_size) == *wanted) return {};
    // One file and two files can have the same sum, when the one is both joined.
    return fail(fault::already_exists,
                "An image with the fingerprint " + name.substr(0, 64) + " but other files is stored");
  }
  if (fchmod(file.get(), 0600) != 0) return fail_errno(errno, "Cannot set the mode of image file " + name);
  if (auto ok = sync(file, name); !ok) return ok;
  const auto self = "/proc/self/fd/" + std::to_string(file.get());
  if (linkat(AT_FDCWD, self.c_str(), directory.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0 || errno == EEXIST)
    return {};
  if (errno != EXDEV && errno != ENOENT) return fail_errno(errno, "Cannot store image file " + name);
  // Spooled on another file system, or not linkable.
  auto copy = unnamed_file(path);
  if (!copy) return tl::unexpected{copy.error()};
  if (auto ok = copy_range(file, 0, *wanted, *copy); !ok) return ok;
  if (auto ok = sync(*copy, name); !ok) return ok;
  const auto copied = "/proc/self/fd/" + std::to_string(copy->get());
  if (linkat(AT_FDCWD, copied.c_str(), directory.get(), name.c_str(), AT_SYMLINK_FOLLOW) != 0 && errno != EEXIST)
    return fail_errno(errno, "Cannot store image file " + name);
  return {};
}

outcome<void> remove_file(const unique_fd& directory, const std::string& name) {
  if (unlinkat(directory.get(), name.c_str(), 0) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot remove image file " + name);
  return {};
}

struct close_listing {
  void operator()(DIR* entries) const { closedir(entries); }
};

tl::unexpected<error> bad_fingerprint() {
  return fail(fault::invalid, "An image fingerprint is 64 hexadecimal digits");
}

} // namespace

image_store::image_store(std::string directory, std::string unpack_program, uint64_t disk_max)
    : directory_{std::move(directory)}, unpack_program_{std::move(unpack_program)},
      convert_program_{std::filesystem::path{unpack_program_}.replace_filename("troupe-convert")}, disk_max_{disk_max} {
}

outcome<image_facts> image_store::inspect(const image_upload& upload, const progress_sink& progress,
                                          const cancel_token* stop) {
  image_facts out;
  out.split = static_cast<bool>(upload.rootfs);
  auto disk_size = check_formats(upload, disk_max_);
  if (!disk_size) return tl::unexpected{disk_size.error()};
  auto first = size_of(upload.metadata);
  auto second = out.split ? size_of(upload.rootfs) : outcome<uint64_t>{0};
  if (!first) return tl::unexpected{first.error()};
  if (!second) return tl::unexpected{second.error()};
  out.size = *first + *second;

  // The helper reads the archives while this thread hashes them; each is half of the progress.
  std::vector<int> archives{upload.metadata.get()};
  if (out.split) archives.push_back(upload.rootfs.get());
  auto check = start_unpacker(unpack_program_, archives, -1);
  if (!check) return tl::unexpected{check.error()};
  auto half = [&](uint64_t base) {
    return [&, base](uint64_t done, uint64_t) {
      if (progress) progress(base + done / 2, out.size);
    };
  };
  sha256_sum sum;
  if (auto ok = add_file(sum, upload.metadata, 0, out.size, half(0), stop); !ok) return tl::unexpected{ok.error()};
  if (out.split)
    if (auto ok = add_file(sum, upload.rootfs, *first, out.size, half(0), stop); !ok) return tl::unexpected{ok.error()};
  out.fingerprint = sum.hex();
  auto found = check->wait(half(out.size / 2), stop);
  if (!found) return tl::unexpected{found.error()};
  out.virtual_machine = found->virtual_machine;
  out.disk_size = out.split ? *disk_size : found->disk_size;
  if (out.disk_size > disk_max_)
    return fail(fault::too_large, "The disk of the image has " + std::to_string(out.disk_size) +
                                      " bytes, more than the " + std::to_string(disk_max_) + " that are allowed");
  auto metadata = parse_metadata(found->text);
  if (!metadata) return tl::unexpected{metadata.error()};
  out.metadata = std::move(*metadata);
  if (progress) progress(out.size, out.size);
  return out;
}

outcome<void> image_store::keep(const image_upload& upload, const image_facts& facts) {
  if (!is_fingerprint(facts.fingerprint)) return bad_fingerprint();
  std::lock_guard lock{files_};
  if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno(errno, "Cannot create " + directory_);
  auto directory = open_directory(directory_);
  if (!directory) return tl::unexpected{directory.error()};
  // The metadata file comes last: its presence means that the image is whole.
  if (facts.split) {
    if (auto ok = link_file(*directory, directory_, upload.rootfs, facts.fingerprint + std::string{root_suffix}); !ok)
      return ok;
    if (auto ok = sync(*directory, directory_); !ok) return ok;
  }
  if (auto ok = link_file(*directory, directory_, upload.metadata, facts.fingerprint); !ok) return ok;
  return sync(*directory, directory_);
}

outcome<void> image_store::forget(const std::string& fingerprint) {
  if (!is_fingerprint(fingerprint)) return bad_fingerprint();
  std::lock_guard lock{files_};
  auto directory = open_directory(directory_);
  if (!directory)
    return directory.error().code == fault::not_found ? outcome<void>{} : tl::unexpected{directory.error()};
  for (const auto& name : {fingerprint, fingerprint + std::string{root_suffix}}) {
    if (auto ok = remove_file(*directory, name); !ok) return ok;
    if (auto ok = sync(*directory, directory_); !ok) return ok;
  }
  return {};
}

outcome<std::vector<unique_fd>> image_store::open(const std::string& fingerprint, bool split) {
  if (!is_fingerprint(fingerprint)) return bad_fingerprint();
  auto directory = open_directory(directory_);
  if (!directory) return tl::unexpected{directory.error()};
  std::vector<unique_fd> out;
  for (const auto& name : {fingerprint, fingerprint + std::string{root_suffix}}) {
    if (!out.empty() && !split) break;
    unique_fd file{openat(directory->get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (!file) return fail_errno(errno, "Cannot open image file " + name);
    out.push_back(std::move(file));
  }
  return out;
}

outcome<std::string> image_store::extension(const unique_fd& file) {
  auto format = format_in(file);
  if (!format) return tl::unexpected{format.error()};
  if (*format == image_format::unknown) return fail(fault::corrupt, "The stored image file has an unknown format");
  return std::string{extension_of(*format)};
}

outcome<void> image_store::unpack(const std::string& fingerprint, bool split, const std::string& volume_dir,
                                  const progress_sink& progress, const cancel_token* stop) {
  auto files = open(fingerprint, split);
  if (!files) return tl::unexpected{files.error()};
  unique_fd target{::open(volume_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!target) return fail_errno(errno, "Cannot open " + volume_dir);
  std::vector<int> archives;
  for (const auto& file : *files) archives.push_back(file.get());
  auto format = split ? format_in(files->back()) : outcome<image_format>{image_format::unknown};
  if (!format) return tl::unexpected{format.error()};
  const bool apart = *format == image_format::qcow2; // then all the work is in the disk
  auto call = start_unpacker(unpack_program_, archives, target.get());
  if (!call) return tl::unexpected{call.error()};
  auto done = call->wait(apart ? nullptr : progress, stop);
  if (!done) return tl::unexpected{done.error()};
  if (!done->virtual_machine) return {};
  if (unlinkat(target.get(), "rootfs", AT_REMOVEDIR) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot remove the empty rootfs of " + volume_dir);
  auto disk = apart ? outcome<unique_fd>{std::move(files->back())} : open_disk(target);
  if (!disk) return tl::unexpected{disk.error()};
  auto facts = judge_file(*disk, disk_max_);
  if (!facts) return tl::unexpected{facts.error()};
  if (!facts->qcow2) return {};
  return convert(*disk, facts->size, target, progress, stop);
}

/// A root.img that is there is the disk itself, from a unified image: it gives way.
outcome<void> image_store::convert(const unique_fd& disk, uint64_t size, const unique_fd& volume,
                                   const progress_sink& progress, const cancel_token* stop) {
  const int at = volume.get();
  if (renameat2(at, root_disk_name, at, packed_disk, RENAME_NOREPLACE) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot replace the disk of a volume");
  auto made = make_root_disk(at);
  if (!made) return tl::unexpected{made.error()};
  const uint64_t whole = (size + 511) / 512 * 512;
  auto done = convert_disk(disk, *made, {convert_program_, "qcow2", "raw", whole}, progress, stop);
  if (!done) static_cast<void>(unlinkat(at, root_disk_name, 0));
  if (unlinkat(at, packed_disk, 0) != 0 && errno != ENOENT && done)
    return fail_errno(errno, "Cannot remove the packed disk of a volume");
  return done;
}

outcome<std::vector<std::string>> image_store::list() {
  std::lock_guard lock{files_};
  auto directory = open_directory(directory_);
  if (!directory && directory.error().code == fault::not_found) return std::vector<std::string>{};
  if (!directory) return tl::unexpected{directory.error()};
  std::unique_ptr<DIR, close_listing> entries{fdopendir(fcntl(directory->get(), F_DUPFD_CLOEXEC, 3))};
  if (!entries) return fail_errno(errno, "Cannot list " + directory_);
  std::vector<std::string> whole, halves;
  while (const auto* entry = readdir(entries.get())) {
    std::string_view name{entry->d_name};
    if (is_fingerprint(name)) whole.emplace_back(name);
    if (name.ends_with(root_suffix) && is_fingerprint(name.substr(0, 64))) halves.emplace_back(name.substr(0, 64));
  }
  std::sort(whole.begin(), whole.end());
  // A root file system alone is what a crash inside keep or forget leaves.
  for (const auto& half : halves)
    if (!std::binary_search(whole.begin(), whole.end(), half))
      if (auto ok = remove_file(*directory, half + std::string{root_suffix}); !ok) return tl::unexpected{ok.error()};
  return whole;
}

} // namespace troupe
