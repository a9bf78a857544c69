#pragma once

#include "backends/image/image_store.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::test {

/// A folder of this test, gone with it.
struct scratch {
  scratch() {
    char name[] = "/tmp/troupe-image-test-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
  }
  scratch(const scratch&) = delete;
  ~scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

inline std::string unpack_program() {
  if (const char* bin = std::getenv("TROUPE_BIN")) return std::string{bin} + "/troupe-unpack";
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string() + "/troupe-unpack";
}

inline std::string slurp(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  INFO(path);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>{in}, {}};
}

inline void spill(const std::string& path, std::string_view content) {
  std::ofstream out{path, std::ios::binary};
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  REQUIRE(out.flush().good());
}

/// Bytes that no compressor makes smaller; the same for the same seed.
inline std::string noise(size_t size, uint32_t seed = 1) {
  std::string out(size, '\0');
  for (auto& c : out) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return out;
}

/// Runs a program by its argument vector; true if it ended with 0.
inline bool run(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    int quiet = open("/dev/null", O_WRONLY);
    dup2(quiet, 1);
    dup2(quiet, 2);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status == 0;
}

struct item {
  std::string path;
  unsigned type = AE_IFREG;
  std::string content = {}; // or the target of a link
  unsigned mode = 0644;
  int64_t uid = 0, gid = 0;
  bool hardlink = false;
  std::vector<std::pair<std::string, std::string>> xattrs = {};
};

inline item directory(std::string path, unsigned mode = 0755) { return {std::move(path), AE_IFDIR, "", mode}; }
inline item link_to(std::string path, std::string target) {
  return {std::move(path), AE_IFLNK, std::move(target), 0777};
}
inline item hard_link(std::string path, std::string target) {
  item out{std::move(path), AE_IFREG, std::move(target)};
  out.hardlink = true;
  return out;
}

inline constexpr std::string_view good_yaml =
    "architecture: x86_64\ncreation_date: 1700000000\nexpiry_date: 1900000000\n"
    "properties:\n  os: Test\n  release: \"1\"\n";
inline const item yaml_item{"metadata.yaml", AE_IFREG, std::string{good_yaml}};

inline void add(archive* to, const item& i) {
  auto* e = archive_entry_new();
  archive_entry_set_pathname(e, i.path.c_str());
  archive_entry_set_mode(e, static_cast<mode_t>(i.type | i.mode));
  archive_entry_set_uid(e, i.uid);
  archive_entry_set_gid(e, i.gid);
  archive_entry_set_mtime(e, 1600000000, 0);
  const bool has_data = i.type == AE_IFREG && !i.hardlink;
  if (i.hardlink) archive_entry_set_hardlink(e, i.content.c_str());
  if (i.type == AE_IFLNK) archive_entry_set_symlink(e, i.content.c_str());
  if (i.type == AE_IFCHR) archive_entry_set_rdev(e, makedev(1, 3));
  archive_entry_set_size(e, has_data ? static_cast<int64_t>(i.content.size()) : 0);
  for (const auto& [key, value] : i.xattrs) archive_entry_xattr_add_entry(e, key.c_str(), value.data(), value.size());
  if (archive_write_header(to, e) < ARCHIVE_WARN) FAIL(archive_error_string(to));
  if (has_data && !i.content.empty()) archive_write_data(to, i.content.data(), i.content.size());
  archive_entry_free(e);
}

/// `filter`: ARCHIVE_FILTER_NONE, _GZIP, _XZ, _ZSTD, …
inline std::string pack(const std::vector<item>& items, int filter = ARCHIVE_FILTER_NONE) {
  scratch dir;
  auto path = dir / "packed";
  auto* to = archive_write_new();
  REQUIRE(archive_write_add_filter(to, filter) == ARCHIVE_OK);
  REQUIRE(archive_write_set_format_pax_restricted(to) == ARCHIVE_OK);
  REQUIRE(archive_write_open_filename(to, path.c_str()) == ARCHIVE_OK);
  for (const auto& i : items) add(to, i);
  archive_write_close(to);
  archive_write_free(to);
  return slurp(path);
}

inline std::vector<item> with_root(std::vector<item> more, const std::string& prefix = "") {
  std::vector<item> out{{prefix + "metadata.yaml", AE_IFREG, std::string{good_yaml}}, directory(prefix + "rootfs/")};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

inline unique_fd file_of(std::string_view content) {
  unique_fd fd{open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  REQUIRE(fd);
  for (size_t done = 0; done < content.size();) {
    auto n = write(fd.get(), content.data() + done, content.size() - done);
    REQUIRE(n > 0);
    done += static_cast<size_t>(n);
  }
  return fd;
}

/// A store with an empty volume beside it.
struct stage {
  scratch dir;
  image_store store{dir / "images", unpack_program()};
  std::string volume = dir / "volume";

  stage() { std::filesystem::create_directory(volume); }

  static image_upload upload(std::string_view metadata) { return {file_of(metadata), {}, "x"}; }
  static image_upload upload(std::string_view metadata, std::string_view rootfs) {
    return {file_of(metadata), file_of(rootfs), "x"};
  }

  /// Inspects, keeps and unpacks; the first error, if any.
  outcome<image_facts> take(const image_upload& from) {
    auto facts = store.inspect(from, nullptr);
    if (!facts) return facts;
    if (auto ok = store.keep(from, *facts); !ok) return tl::unexpected{ok.error()};
    if (auto ok = store.unpack(facts->fingerprint, facts->split, volume, nullptr); !ok)
      return tl::unexpected{ok.error()};
    return facts;
  }
  /// How the upload is refused; and that nothing came of it.
  error refusal(std::string_view archive) {
    auto facts = store.inspect(upload(archive), nullptr);
    REQUIRE_FALSE(facts.has_value());
    REQUIRE_FALSE(std::filesystem::exists(dir / "images"));
    CHECK(facts.error().message.find('\n') == std::string::npos);
    return facts.error();
  }
  struct stat look(const std::string& path) const {
    struct stat out {};
    INFO(path);
    REQUIRE(lstat((volume + "/" + path).c_str(), &out) == 0);
    return out;
  }
  bool there(const std::string& path) const {
    struct stat out {};
    return lstat((volume + "/" + path).c_str(), &out) == 0;
  }
};

} // namespace troupe::test
