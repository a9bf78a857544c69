#include "tests/backends/image_archives.hpp"

using namespace troupe;
using namespace troupe::test;
using Catch::Matchers::Contains;

namespace {

const std::string type = "multipart/form-data; boundary=XyZ";

std::string part(const std::string& disposition, const std::string& content) {
  return "--XyZ\r\nContent-Disposition: form-data; " + disposition +
         "\r\nContent-Type: application/octet-stream\r\n\r\n" + content + "\r\n";
}

std::string content_of(const unique_fd& fd) {
  struct stat st {};
  REQUIRE(fstat(fd.get(), &st) == 0);
  std::string out(static_cast<size_t>(st.st_size), '\0');
  REQUIRE(pread(fd.get(), out.data(), out.size(), 0) == static_cast<ssize_t>(out.size()));
  return out;
}

outcome<image_upload> split(const std::string& body, const std::string& content_type = type) {
  return split_multipart(file_of(body), content_type, "/tmp");
}

const std::string meta = part("name=\"metadata\"; filename=\"meta.tar.gz\"", "META");
const std::string root = part("name=\"rootfs\"; filename=\"dir/root \\\"1\\\".squashfs\"", "ROOT");

} // namespace

TEST_CASE("a form's two parts become two files") {
  auto upload = split(meta + root + "--XyZ--\r\n");
  INFO((upload ? "" : upload.error().message));
  REQUIRE(upload.has_value());
  CHECK(content_of(upload->metadata) == "META");
  CHECK(content_of(upload->rootfs) == "ROOT");
  CHECK(upload->filename == "root \"1\".squashfs");
  CHECK(split(meta + part("name=rootfs.img", "VM") + "--XyZ--").has_value());
  CHECK(split(meta + root + "--XyZ--\r\n", "Multipart/Form-Data; charset=x; boundary=\"XyZ\"").has_value());
}

TEST_CASE("large parts, line ends and near-boundaries in binary content survive") {
  auto content = noise(5'000'000);
  // A near-boundary over the edges of the blocks that are scanned.
  for (size_t at = (1 << 20) - 200; at < (1 << 20) + 50; at += 9) content.replace(at, 6, "\r\n--Xy");
  auto upload = split(part("name=metadata", "\r\n--XyA\r\n\r\n") + part("name=rootfs", content) + "--XyZ--\r\n");
  REQUIRE(upload.has_value());
  CHECK(content_of(upload->metadata) == "\r\n--XyA\r\n\r\n");
  CHECK(content_of(upload->rootfs) == content);
  // The delimiter itself on every position around an edge.
  for (size_t shift = 0; shift < 12; ++shift) {
    const std::string body((1 << 20) - shift, 'b');
    auto edge = split(part("name=metadata", body) + root + "--XyZ--\r\n");
    REQUIRE(edge.has_value());
    CHECK(content_of(edge->metadata) == body);
    CHECK(content_of(edge->rootfs) == "ROOT");
  }
}

TEST_CASE("malformed forms are refused") {
  const std::string end = "--XyZ--";
  auto [body, content_type] = GENERATE_COPY(table<std::string, std::string>({
      {meta + root + end, "application/octet-stream"},
      {meta + root + end, "multipart/form-data"},
      {meta + root + end, "multipart/form-data; boundary="},
      {meta + root + end, "multipart/form-data; boundary=" + std::string(71, 'x')},
      {meta + root + end, "multipart/form-data; boundary=\"XyZ"},
      {meta + root + end, "multipart/form-data; boundary=other"},
      {"", type},
      {"--XyZ--\r\n", type},
      {meta, type},
      {meta + end, type},
      {meta + root, type},
      {root + meta + end, type},
      {meta + meta + end, type},
      {meta + root + root + end, type},
      {"junk" + meta + root + end, type},
      {"--XyZ\r\n\r\nMETA\r\n" + root + end, type},
      {"--XyZ\r\nContent-Disposition: attachment; name=metadata\r\n\r\nMETA\r\n" + root + end, type},
      {"--XyZ\r\nno header\r\n\r\nMETA\r\n" + root + end, type},
      {"--XyZ\r\n" + std::string(40'000, 'h') + ": x\r\n\r\nMETA\r\n" + root + end, type},
      {part("name=metadata; name=rootfs", "M") + root + end, type},
      {meta + part("name=rootfs; filename=\"a\x01b\"", "R") + end, type},
      {meta + part("name=\"rootfs", "R") + end, type},
  }));
  INFO(body.substr(0, 300));
  auto upload = split(body, content_type);
  REQUIRE_FALSE(upload.has_value());
  CHECK(upload.error().code == fault::invalid);
  CHECK_THAT(upload.error().message, Contains("malformed"));
}
