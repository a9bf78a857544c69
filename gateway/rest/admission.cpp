#include "gateway/rest/admission.hpp"

#include <array>
#include <openssl/evp.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr std::string_view key_header = "Idempotency-Key";

class digest {
public:
  digest() { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  // Parts are set off from each other by their sizes.
  digest& add(std::string_view part) {
    auto size = std::to_string(part.size()) + ':';
    EVP_DigestUpdate(context_.get(), size.data(), size.size());
    EVP_DigestUpdate(context_.get(), part.data(), part.size());
    return *this;
  }
  digest& add_file(const unique_fd& file) {
    std::array<char, 65536> block;
    off_t at = 0;
    for (ssize_t got; (got = pread(file.get(), block.data(), block.size(), at)) > 0; at += got)
      EVP_DigestUpdate(context_.get(), block.data(), static_cast<size_t>(got));
    return *this;
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), bytes.data(), &size);
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (unsigned i = 0; i < size; ++i) (out += digits[bytes[i] >> 4]) += digits[bytes[i] & 15];
    return out;
  }

private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

// All that can make a difference to what the request does.
std::string digest_of(const http_request& http) {
  digest out;
  out.add(http.method).add(http.target).add(http.header("If-Match"));
  for (auto name : {"X-LXD-filename", "X-LXD-public", "X-LXD-properties", "X-LXD-fingerprint", "X-LXD-name",
                    "X-LXD-pool", "X-LXD-devices"})
    out.add(http.header(name));
  out.add(http.body);
  if (http.spool) out.add_file(http.spool);
  return out.hex();
}

void complete(rest_request& request) {
  auto head = std::make_shared<header>(*request.head);
  head->plan = is_true(request.http->parameter("plan"));
  if (auto key = request.http->header(key_header); !key.empty()) {
    head->request_id = key;
    head->request_digest = digest_of(*request.http);
  }
  request.head = std::move(head);
}

} // namespace

void admit(rest_request request, const route& row, std::function<void(const rest_request&)> then) {
  bool keyed = !request.http->header(key_header).empty(), plan = is_true(request.http->parameter("plan"));
  if (row.method == "GET" || row.method == "HEAD") return then(request);
  if (auto given = request.http->parameter("plan"); !plan && !given.empty() && given != "false" && given != "0")
    return reply_error(request, {fault::invalid, "plan is true or false"}); // a typing error must not change anything
  if (!keyed && !plan) return then(request);
  if (!row.one_saga)
    return reply_error(request, {fault::unsupported, plan ? "This request cannot be planned"
                                                          : "This request cannot have an Idempotency-Key"});
  if (!request.http->spool || !keyed) {
    complete(request);
    return then(request);
  }
  bool taken = request.with().blocking.submit([request, then]() mutable {
    complete(request);
    then(request);
  });
  if (!taken) reply_error(request, {fault::busy, "The server has too much to do right now; try again"});
}

} // namespace troupe
