#include <troupe/client.hpp>

#include <kj/compat/tls.h>
#include <kj/debug.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string_view>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t chunk_bytes = 64 << 10;

constexpr fault faults[] = {fault::invalid,        fault::not_found, fault::already_exists, fault::wrong_state,
                            fault::busy,           fault::in_use,    fault::forbidden,      fault::unsupported,
                            fault::precondition,   fault::too_large, fault::cancelled,      fault::timed_out,
                            fault::backend_failed, fault::corrupt,   fault::newer_format,   fault::internal};

class text_sink final : public bus::ByteStream::Server {
public:
  explicit text_sink(std::string& into) : into_{into} {}
  kj::Promise<void> write(WriteContext context) override {
    auto bytes = context.getParams().getBytes().asChars();
    into_.append(bytes.begin(), bytes.size());
    return kj::READY_NOW;
  }
  kj::Promise<void> end(EndContext) override { return kj::READY_NOW; }

private:
  std::string& into_;
};

class fd_sink final : public bus::ByteStream::Server {
public:
  explicit fd_sink(int fd) : fd_{fd} {}
  kj::Promise<void> write(WriteContext context) override {
    auto bytes = context.getParams().getBytes();
    for (size_t at = 0; at < bytes.size();) {
      ssize_t done = 0;
      KJ_SYSCALL(done = ::write(fd_, bytes.begin() + at, bytes.size() - at));
      at += static_cast<size_t>(done);
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> end(EndContext) override { return kj::READY_NOW; }

private:
  int fd_;
};

struct certificate_deleter {
  void operator()(X509* one) const { X509_free(one); }
  void operator()(BIO* one) const { BIO_free(one); }
  void operator()(GENERAL_NAMES* some) const { GENERAL_NAMES_free(some); }
};
template <class T>
using openssl_ptr = std::unique_ptr<T, certificate_deleter>;

// A name that the certificate is made for. Which one does not matter: only this very certificate is taken.
std::string name_in(const std::string& pem) {
  openssl_ptr<BIO> in{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  openssl_ptr<X509> parsed{PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)};
  KJ_REQUIRE(parsed != nullptr, "The server's certificate is not PEM");
  openssl_ptr<GENERAL_NAMES> names{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(parsed.get(), NID_subject_alt_name, nullptr, nullptr))};
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    auto* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    auto* text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName));
    return {text, static_cast<size_t>(ASN1_STRING_length(name->d.dNSName))};
  }
  KJ_FAIL_REQUIRE("The server's certificate has no DNS name");
}

kj::TlsContext context_of(const tls_daemon& daemon) {
  kj::TlsCertificate expected{kj::StringPtr{daemon.server_certificate.c_str()}};
  kj::TlsKeypair own{kj::TlsPrivateKey{kj::StringPtr{daemon.key.c_str()}},
                     kj::TlsCertificate{kj::StringPtr{daemon.certificate.c_str()}}};
  kj::TlsContext::Options options;
  options.useSystemTrustStore = false;
  options.trustedCertificates = kj::arrayPtr(&expected, 1);
  options.defaultKeypair = own;
  return kj::TlsContext{options};
}

} // namespace

struct bus_client::data {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  kj::Own<kj::AsyncIoStream> stream;
  kj::Own<capnp::TwoPartyClient> rpc;
};

bus_client::bus_client(const std::string& socket) : data_{std::make_unique<data>()} {
  auto& network = data_->io.provider->getNetwork();
  auto address = network.parseAddress(kj::str("unix:", socket.c_str())).wait(scope());
  data_->stream = address->connect().wait(scope());
  data_->rpc = kj::heap<capnp::TwoPartyClient>(*data_->stream);
}

bus_client::bus_client(const tls_daemon& daemon) : data_{std::make_unique<data>()} {
  auto address = data_->io.provider->getNetwork().parseAddress(daemon.address.c_str()).wait(scope());
  auto context = context_of(daemon);
  auto name = name_in(daemon.server_certificate);
  data_->stream = context.wrapClient(address->connect().wait(scope()), name.c_str()).wait(scope());
  data_->rpc = kj::heap<capnp::TwoPartyClient>(*data_->stream);
}

bus_client::~bus_client() = default;

bus::Bus::Client bus_client::bus() { return data_->rpc->bootstrap().castAs<bus::Bus>(); }

bus::Project::Client bus_client::project(const std::string& name) {
  auto request = bus().projectRequest();
  request.setName(name);
  return request.send().getProject();
}

kj::WaitScope& bus_client::scope() { return data_->io.waitScope; }
kj::AsyncIoContext& bus_client::io() { return data_->io; }

error error_of(const kj::Exception& why) {
  std::string_view text{why.getDescription().begin(), why.getDescription().size()};
  constexpr std::string_view remote = "remote exception: ";
  while (text.starts_with(remote)) text.remove_prefix(remote.size());
  auto colon = text.find(": ");
  if (colon != text.npos)
    for (auto code : faults)
      if (to_string(code) == text.substr(0, colon)) return {code, std::string{text.substr(colon + 2)}};
  return {fault::backend_failed, std::string{text}};
}

bus::ByteStream::Client sink_into(std::string& text) { return kj::heap<text_sink>(text); }

bus::ByteStream::Client sink_into(int fd) { return kj::heap<fd_sink>(fd); }

kj::Promise<void> send_all(int fd, bus::ByteStream::Client to) {
  auto request = to.writeRequest();
  kj::byte buffer[chunk_bytes];
  ssize_t got = 0;
  KJ_SYSCALL(got = ::read(fd, buffer, sizeof buffer));
  if (got == 0) return to.endRequest().send().ignoreResult();
  request.setBytes(kj::arrayPtr(buffer, static_cast<size_t>(got)));
  return request.send().then([fd, to]() mutable { return send_all(fd, to); });
}

} // namespace troupe
