#include "backends/image/disk_convert.hpp"
#include "backends/image/qcow2_header.hpp"
#include "backends/storage/root_disk.hpp"
#include "tests/backends/image_archives.hpp"

#include <csignal>
#include <poll.h>
#include <set>
#include <sys/syscall.h>
#include <thread>

using namespace troupe;
using namespace troupe::test;
using Catch::Matchers::Contains;

namespace {

constexpr uint64_t mib = 1 << 20;

std::string convert_program() {
  return std::filesystem::path{unpack_program()}.replace_filename("troupe-convert").string();
}

/// A disk of that size with some bytes in it; raw.
std::string make_raw(const scratch& in, uint64_t size = 64 * mib, size_t data = 2 * mib) {
  auto path = in / "disk.raw";
  unique_fd file{open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)};
  REQUIRE(ftruncate(file.get(), static_cast<off_t>(size)) == 0);
  auto bytes = noise(data);
  REQUIRE(pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(size / 2)) ==
          static_cast<ssize_t>(bytes.size()));
  REQUIRE(pwrite(file.get(), "boot", 4, 0) == 4);
  return path;
}

std::string in_format(const scratch& in, const std::string& format, const std::string& raw,
                      std::vector<std::string> options = {}) {
  auto path = in / ("disk." + format);
  std::vector<std::string> words{"qemu-img", "convert", "-f", "raw", "-O", format};
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), {raw, path});
  REQUIRE(run(words));
  return path;
}

uint64_t allocated(const struct stat& facts) { return static_cast<uint64_t>(facts.st_blocks) * 512; }

unique_fd opened(const std::string& path, int flags = O_RDONLY) {
  unique_fd fd{open(path.c_str(), flags | O_CLOEXEC, 0600)};
  REQUIRE(fd);
  return fd;
}

/// The one child of this thread.
pid_t child() {
  std::ifstream children{"/proc/thread-self/children"};
  pid_t pid = 0;
  children >> pid;
  return pid;
}

void put(std::string& header, size_t offset, size_t bytes, uint64_t value) {
  for (size_t i = 0; i < bytes; ++i) header.at(offset + i) = static_cast<char>(value >> (8 * (bytes - 1 - i)));
}

/// A good header of version 3, 1 GiB in clusters of 64 KiB, with its table at 192 KiB.
std::string good_header() {
  std::string out(qcow2_head_size, '\0');
  out.replace(0, 4, "QFI\xfb");
  put(out, 4, 4, 3);
  put(out, 20, 4, 16);
  put(out, 24, 8, 1024 * mib);
  put(out, 36, 4, 2);
  put(out, 40, 8, 192 << 10);
  put(out, 96, 4, 4);
  put(out, 100, 4, 112);
  return out;
}

constexpr uint64_t good_file_size = 1 * mib;

} // namespace

TEST_CASE("the image of a virtual machine unpacks to a raw and sparse disk") {
  auto form = GENERATE(as<std::string>{}, "split", "split compressed", "unified qcow2", "unified raw");
  INFO(form);
  stage s;
  auto raw = make_raw(s.dir);
  const auto content = slurp(raw);
  auto disk = form == "unified raw"        ? raw
              : form == "split compressed" ? in_format(s.dir, "qcow2", raw, {"-c"})
                                           : in_format(s.dir, "qcow2", raw);
  std::vector<item> items{yaml_item, directory("templates/"), {"templates/x.tpl", AE_IFREG, "t"}};
  if (form.starts_with("unified")) items.push_back({"rootfs.img", AE_IFREG, slurp(disk), 0755, 7, 7});
  auto archive = pack(items, ARCHIVE_FILTER_GZIP);
  auto from = form.starts_with("split") ? stage::upload(archive, slurp(disk)) : stage::upload(archive);
  REQUIRE(std::filesystem::create_directory(s.volume + "/rootfs")); // as volumes of images begin

  auto facts = s.take(from);
  INFO((facts ? "" : facts.error().message));
  REQUIRE(facts.has_value());
  CHECK(facts->virtual_machine);
  CHECK(facts->disk_size == 64 * mib);
  auto found = s.look("root.img");
  CHECK(S_ISREG(found.st_mode));
  CHECK((found.st_mode & 07777) == 0600);
  CHECK(found.st_uid == 0);
  CHECK(static_cast<uint64_t>(found.st_size) == 64 * mib);
  CHECK(allocated(found) < 3 * mib);
  CHECK(slurp(s.volume + "/root.img") == content);
  CHECK(slurp(s.volume + "/metadata.yaml") == good_yaml);
  CHECK(slurp(s.volume + "/templates/x.tpl") == "t");
  std::set<std::string> names;
  for (auto& entry : std::filesystem::directory_iterator{s.volume}) names.insert(entry.path().filename());
  CHECK(names == std::set<std::string>{"metadata.yaml", "templates", "root.img"});
}

TEST_CASE("a good qcow2 header is read, and snapshots inside are ignored") {
  auto header = good_header();
  auto facts = read_qcow2_header(header, good_file_size, 2048 * mib);
  REQUIRE(facts.has_value());
  CHECK(facts->size == 1024 * mib);
  CHECK(facts->version == 3);
  put(header, 60, 4, 5);
  put(header, 64, 8, uint64_t{1} << 60);
  CHECK(read_qcow2_header(header, good_file_size, 2048 * mib).has_value());
  put(header, 4, 4, 2);
  CHECK(read_qcow2_header(std::string_view{header}.substr(0, 72), good_file_size, 2048 * mib)->version == 2);
}

TEST_CASE("a qcow2 header that asks for more than its own file is refused") {
  struct change {
    size_t offset, bytes;
    uint64_t value;
    std::string word;
  };
  auto c = GENERATE(values<change>({{8, 8, 256, "builds on another file"},
                                    {32, 4, 1, "encrypted"},
                                    {32, 4, 2, "encrypted"},
                                    {4, 4, 1, "version 1"},
                                    {4, 4, 4, "version 4"},
                                    {4, 4, 0, "version 0"},
                                    {20, 4, 8, "clusters of a size"},
                                    {20, 4, 22, "clusters of a size"},
                                    {20, 4, 0xffffffff, "clusters of a size"},
                                    {24, 8, 0, "empty"},
                                    {24, 8, 2049 * mib, "more than the"},
                                    {24, 8, ~uint64_t{0}, "more than the"},
                                    {36, 4, 1, "table of clusters"},
                                    {36, 4, 0xffffffff, "table of clusters"},
                                    {40, 8, 0, "table of clusters"},
                                    {40, 8, 100, "table of clusters"},
                                    {40, 8, uint64_t{1} << 63, "cut short"},
                                    {40, 8, mib, "cut short"},
                                    {72, 8, 4, "another file"},
                                    {72, 8, 2, "corrupt"},
                                    {72, 8, 32, "not known"},
                                    {72, 8, uint64_t{1} << 63, "not known"},
                                    {72, 8, 8, "compressed in a way"},
                                    {104, 1, 2, "compressed in a way"},
                                    {100, 4, 96, "length"},
                                    {100, 4, 0xfffffff8, "length"},
                                    {0, 4, 0, "no qcow2"}}));
  auto header = good_header();
  put(header, c.offset, c.bytes, c.value);
  auto facts = read_qcow2_header(header, good_file_size, 2048 * mib);
  INFO(c.offset << ' ' << c.value);
  REQUIRE_FALSE(facts.has_value());
  CHECK_THAT(facts.error().message, Contains(c.word));
  CHECK(facts.error().code == (c.word == "more than the" ? fault::too_large : fault::invalid));
}

TEST_CASE("no prefix of a qcow2 header is read beyond its end, and no byte of it leads astray") {
  auto header = good_header();
  for (size_t size = 0; size < 104; ++size) {
    std::string exact{header.substr(0, size)};
    exact.shrink_to_fit();
    CHECK_FALSE(read_qcow2_header(exact, good_file_size, 2048 * mib).has_value());
  }
  uint32_t seed = 7;
  for (int round = 0; round < 200'000; ++round) {
    auto bad = header;
    for (int i = 0; i < 3; ++i) {
      seed = seed * 1664525 + 1013904223;
      bad[4 + (seed >> 8) % (bad.size() - 4)] = static_cast<char>(seed >> 24);
    }
    auto facts = read_qcow2_header(bad, good_file_size, 2048 * mib);
    if (facts && (facts->size == 0 || facts->size > 2048 * mib)) FAIL("round " << round);
    if (!facts && facts.error().message.empty()) FAIL("round " << round);
  }
}

TEST_CASE("hostile disks are refused when they are uploaded, split and unified") {
  stage s;
  auto raw = make_raw(s.dir, 8 * mib, 4096);
  const auto good = slurp(in_format(s.dir, "qcow2", raw));
  auto check = [&](const std::string& disk, const std::string& word, fault code = fault::invalid) {
    INFO(word);
    auto split = s.store.inspect(stage::upload(pack({yaml_item}), disk), nullptr);
    auto unified = s.store.inspect(stage::upload(pack({yaml_item, {"rootfs.img", AE_IFREG, disk}})), nullptr);
    for (auto* each : {&split, &unified}) {
      REQUIRE_FALSE(each->has_value());
      CHECK(each->error().code == code);
      CHECK_THAT(each->error().message, Contains(word));
    }
    CHECK_FALSE(std::filesystem::exists(s.dir / "images"));
  };
  auto with = [&](size_t offset, size_t bytes, uint64_t value) {
    auto bad = good;
    put(bad, offset, bytes, value);
    return bad;
  };
  auto backed = s.dir / "backed.qcow2";
  REQUIRE(run({"qemu-img", "create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", backed}));
  check(slurp(backed), "builds on another file");
  auto apart = s.dir / "apart.qcow2";
  REQUIRE(run({"qemu-img", "create", "-f", "qcow2", "-o", "data_file=" + (s.dir / "data.raw") + ",data_file_raw=on",
               apart, "1M"}));
  check(slurp(apart), "keeps its data in another file");
  check(with(4, 4, 1), "version 1");
  check(with(32, 4, 1), "encrypted");
  check(with(24, 8, uint64_t{1} << 50), "more than the", fault::too_large);
  check(good.substr(0, 60), "cut short");
  check(good.substr(0, 4096), "cut short");
  auto no_file = s.store.inspect(stage::upload(pack({yaml_item, link_to("rootfs.img", "/etc/passwd")})), nullptr);
  CHECK_THAT(no_file.error().message, Contains("no regular file"));
  image_store small{s.dir / "images", unpack_program(), mib};
  for (auto& from :
       {stage::upload(pack({yaml_item}), good), stage::upload(pack({yaml_item, {"rootfs.img", AE_IFREG, good}}))})
    CHECK(small.inspect(from, nullptr).error().code == fault::too_large);
}

TEST_CASE("a disk that is broken behind its header is refused and leaves nothing") {
  stage s;
  auto raw = make_raw(s.dir, 8 * mib, 2 * mib);
  auto bad = slurp(in_format(s.dir, "qcow2", raw));
  for (size_t at = 4096; at < bad.size(); ++at) bad[at] = static_cast<char>(0xa5); // tables that lead nowhere
  auto taken = s.take(stage::upload(pack({yaml_item}), bad));
  REQUIRE_FALSE(taken.has_value());
  INFO(taken.error().message);
  CHECK(taken.error().code == fault::invalid);
  CHECK_FALSE(s.there("root.img"));
}

TEST_CASE("a raw disk that begins like a qcow2 one stays raw where it is declared so, and shows nothing of the host") {
  scratch dir;
  auto backed = dir / "backed.qcow2";
  REQUIRE(run({"qemu-img", "create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", backed}));
  const auto content = slurp(backed);
  for (std::string to : {"raw", "qcow2"}) {
    auto target = dir / ("out." + to);
    auto out = opened(target, O_CREAT | O_RDWR | O_TRUNC);
    auto done = convert_disk(opened(backed), out, {convert_program(), "raw", to, 64 * mib}, nullptr, nullptr);
    INFO((done ? "" : done.error().message));
    REQUIRE(done.has_value());
    if (to == "qcow2") REQUIRE(run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", target, dir / "out.raw"}));
    CHECK(slurp(dir / "out.raw").substr(0, content.size()) == content);
    CHECK(slurp(dir / "out.raw").find("root:") == std::string::npos);
  }
  // Even past our own reader there is no such file where qemu-img looks, and it is not asked to look.
  auto out = opened(dir / "leak.raw", O_CREAT | O_RDWR);
  static_cast<void>(convert_disk(opened(backed), out, {convert_program(), "qcow2", "raw", 64 * mib}, nullptr, nullptr));
  CHECK(slurp(dir / "leak.raw").find("root:") == std::string::npos);
}

TEST_CASE("a disk that names files of the host shows nothing of them") {
  scratch dir;
  auto secret = dir / "secret";
  spill(secret, "root:" + std::string(4096 - 5, 'x'));
  auto name = GENERATE_COPY(as<std::string>{}, secret, "/etc/passwd", "/proc/1/environ", "nbd://127.0.0.1:1/x",
                            "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}", "/dev/../etc/passwd");
  INFO(name);
  spill(dir / "disk.vmdk", "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                           "createType=\"monolithicFlat\"\n\nRW 8 FLAT \"" +
                               name +
                               "\" 0\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"1\"\n"
                               "ddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n"
                               "ddb.adapterType = \"ide\"\n");
  auto out = opened(dir / "out", O_CREAT | O_RDWR);
  auto done = convert_disk(opened(dir / "disk.vmdk"), out, {convert_program(), "vmdk", "raw", mib}, nullptr, nullptr);
  REQUIRE_FALSE(done.has_value());
  INFO(done.error().message);
  CHECK(done.error().code == fault::invalid);
  CHECK(slurp(dir / "out").find("root:") == std::string::npos);
}

TEST_CASE("disks of other makers become raw ones") {
  auto format = GENERATE(as<std::string>{}, "vmdk", "vdi", "vhdx", "vpc", "qcow2", "raw");
  INFO(format);
  scratch dir;
  auto raw = make_raw(dir);
  auto from = format == "raw" ? raw : in_format(dir, format, raw);
  auto out = opened(dir / "out", O_CREAT | O_RDWR);
  auto done = convert_disk(opened(from), out, {convert_program(), format, "raw", 80 * mib}, nullptr, nullptr);
  INFO((done ? "" : done.error().message));
  REQUIRE(done.has_value());
  CHECK(slurp(dir / "out").substr(0, 64 * mib) == slurp(raw));
  struct stat facts {};
  REQUIRE(fstat(out.get(), &facts) == 0);
  CHECK(allocated(facts) < 3 * mib);
  CHECK((facts.st_mode & 07777) == 0600);
}

TEST_CASE("a disk is converted to a limit, and by known formats only") {
  scratch dir;
  auto raw = make_raw(dir);
  auto disk = in_format(dir, "qcow2", raw);
  auto from = opened(disk), small = opened(dir / "small", O_CREAT | O_RDWR);
  CHECK(convert_disk(from, small, {convert_program(), "qcow2", "raw", 63 * mib}, nullptr, nullptr).error().code ==
        fault::too_large);
  for (std::string format : {"", "nbd", "luks", "qcow2\",\"x\":\"", "raw,file.filename=/etc/passwd"}) {
    CHECK(convert_disk(from, small, {convert_program(), format, "raw", mib}, nullptr, nullptr).error().code ==
          fault::unsupported);
    CHECK_FALSE(run({convert_program(), std::to_string(getpid()), "1000000", format, "raw"}));
  }
  CHECK(convert_disk(from, small, {convert_program(), "qcow2", "vmdk", mib}, nullptr, nullptr).error().code ==
        fault::unsupported);
  CHECK_FALSE(run({convert_program()}));
  CHECK(convert_disk(from, small, {dir / "missing", "qcow2", "raw", mib}, nullptr, nullptr).error().code ==
        fault::backend_failed);
}

TEST_CASE("the converter has no rights, and sees two files and its libraries") {
  scratch dir;
  auto raw = make_raw(dir, 128 * mib, 64 * mib);
  auto disk = in_format(dir, "qcow2", raw);
  auto from = opened(disk), out = opened(dir / "out", O_CREAT | O_RDWR);
  std::string status, limits;
  std::set<std::string> names;
  bool apart = true;
  uint64_t last = 0;
  bool rising = true;
  auto watch = [&](uint64_t done, uint64_t total) {
    rising = rising && done >= last && done <= total;
    last = done;
    if (!status.empty()) return;
    // Not reaped while we are told of progress, so its status can be read even if it has just ended.
    const auto proc = "/proc/" + std::to_string(child());
    status = slurp(proc + "/status");
    limits = slurp(proc + "/limits");
    std::error_code none;
    for (auto& entry : std::filesystem::directory_iterator{proc + "/root", none}) names.insert(entry.path().filename());
    for (std::string space : {"net", "mnt", "ipc", "uts", "cgroup"})
      apart = apart && std::filesystem::read_symlink(proc + "/ns/" + space, none) !=
                           std::filesystem::read_symlink("/proc/self/ns/" + space);
  };
  auto done = convert_disk(from, out, {convert_program(), "qcow2", "raw", 128 * mib}, watch, nullptr);
  INFO((done ? "" : done.error().message));
  REQUIRE(done.has_value());
  CHECK(rising);
  CHECK(last == std::filesystem::file_size(disk));
  INFO(status << limits);
  CHECK_THAT(status, Contains("Name:\tqemu-img"));
  CHECK_THAT(status, Contains("Uid:\t4294967042\t4294967042\t4294967042\t4294967042"));
  CHECK_THAT(status, Contains("Groups:\t\n") || Contains("Groups:\t \n"));
  for (std::string set : {"Eff", "Prm", "Bnd", "Inh", "Amb"})
    CHECK_THAT(status, Contains("Cap" + set + ":\t0000000000000000"));
  CHECK_THAT(status, Contains("NoNewPrivs:\t1"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK_THAT(status, Contains("Seccomp:\t2"));
#endif
  CHECK_THAT(limits, Contains("Max file size             134217728            134217728"));
  CHECK_THAT(limits, Contains("Max cpu time              3600"));
  CHECK(apart);
  std::set<std::string> allowed{"usr", "lib", "lib64", "dev", "source", "target"};
  for (auto& name : names) CHECK(allowed.contains(name));
  CHECK(names.contains("source"));
}

TEST_CASE("a conversion that is cancelled or killed leaves neither disk nor process") {
  bool cancelled = GENERATE(true, false);
  stage s;
  auto raw = make_raw(s.dir, 128 * mib, 64 * mib);
  auto from = stage::upload(pack({yaml_item}), slurp(in_format(s.dir, "qcow2", raw)));
  auto facts = s.store.inspect(from, nullptr);
  REQUIRE(facts.has_value());
  REQUIRE(s.store.keep(from, *facts).has_value());
  cancel_token stop;
  pid_t converter = 0;
  auto watch = [&](uint64_t, uint64_t) {
    if (converter != 0) return;
    converter = child();
    if (cancelled)
      stop.cancel();
    else
      kill(converter, SIGKILL);
  };
  auto done = s.store.unpack(facts->fingerprint, true, s.volume, watch, &stop);
  REQUIRE_FALSE(done.has_value());
  INFO(done.error().message);
  CHECK(done.error().code == (cancelled ? fault::cancelled : fault::backend_failed));
  REQUIRE(converter > 0);
  CHECK(kill(converter, 0) == -1);
  CHECK(child() == 0);
  CHECK_FALSE(s.there("root.img"));
}

TEST_CASE("the converter dies with the daemon") {
  scratch dir;
  auto raw = make_raw(dir, 128 * mib, 64 * mib);
  auto disk = in_format(dir, "qcow2", raw);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  unique_fd hear{ends[0]}, tell{ends[1]};
  pid_t daemon = fork();
  REQUIRE(daemon >= 0);
  if (daemon == 0) {
    unique_fd from{open(disk.c_str(), O_RDONLY | O_CLOEXEC)};
    unique_fd out{open((dir / "out").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)};
    auto watch = [&](uint64_t, uint64_t) {
      pid_t pid = child();
      kill(pid, SIGSTOP); // it cannot end by itself now
      static_cast<void>(write(tell.get(), &pid, sizeof pid));
      pause();
    };
    static_cast<void>(convert_disk(from, out, {convert_program(), "qcow2", "raw", 128 * mib}, watch, nullptr));
    _exit(1);
  }
  pid_t converter = 0;
  REQUIRE(read(hear.get(), &converter, sizeof converter) == sizeof converter);
  unique_fd alive{static_cast<int>(syscall(SYS_pidfd_open, converter, 0))};
  REQUIRE(alive);
  kill(daemon, SIGKILL);
  REQUIRE(waitpid(daemon, nullptr, 0) == daemon);
  pollfd gone{alive.get(), POLLIN, 0};
  CHECK(poll(&gone, 1, 20'000) == 1);
}
