#include "tls_names.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

namespace {

struct Name {
    std::uint16_t number;
    const char* text;
};

constexpr std::array versions{Name{0x0300, "SSL 3.0"}, Name{0x0301, "TLS 1.0"},
    Name{0x0302, "TLS 1.1"}, Name{0x0303, "TLS 1.2"}, Name{0x0304, "TLS 1.3"}};

constexpr std::array ciphers{
    Name{0x1301, "TLS_AES_128_GCM_SHA256"},
    Name{0x1302, "TLS_AES_256_GCM_SHA384"},
    Name{0x1303, "TLS_CHACHA20_POLY1305_SHA256"},
    Name{0x1304, "TLS_AES_128_CCM_SHA256"},
    Name{0x1305, "TLS_AES_128_CCM_8_SHA256"},
    Name{0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"},
    Name{0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"},
    Name{0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"},
    Name{0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"},
    Name{0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"},
    Name{0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"},
    Name{0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"},
    Name{0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"},
    Name{0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"},
    Name{0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"},
    Name{0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"},
    Name{0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
    Name{0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"},
    Name{0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
    Name{0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"},
    Name{0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"},
    Name{0xc024, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"},
    Name{0xc027, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"},
    Name{0xc028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"},
    Name{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
    Name{0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
    Name{0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
    Name{0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
    Name{0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
    Name{0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
    Name{0xccaa, "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
};

// The last five are post-quantum: a classical exchange with ML-KEM beside it.
constexpr std::array groups{
    Name{23, "secp256r1"},
    Name{24, "secp384r1"},
    Name{25, "secp521r1"},
    Name{26, "brainpoolP256r1"},
    Name{27, "brainpoolP384r1"},
    Name{28, "brainpoolP512r1"},
    Name{29, "x25519"},
    Name{30, "x448"},
    Name{256, "ffdhe2048"},
    Name{257, "ffdhe3072"},
    Name{258, "ffdhe4096"},
    Name{259, "ffdhe6144"},
    Name{260, "ffdhe8192"},
    Name{512, "MLKEM512"},
    Name{513, "MLKEM768"},
    Name{514, "MLKEM1024"},
    Name{0x11eb, "SecP256r1MLKEM768"},
    Name{0x11ec, "X25519MLKEM768"},
    Name{0x11ed, "SecP384r1MLKEM1024"},
    Name{0x6399, "X25519Kyber768Draft00"},
};

constexpr std::array alerts{
    Name{0, "close_notify"},
    Name{10, "unexpected_message"},
    Name{20, "bad_record_mac"},
    Name{21, "decryption_failed"},
    Name{22, "record_overflow"},
    Name{30, "decompression_failure"},
    Name{40, "handshake_failure"},
    Name{41, "no_certificate"},
    Name{42, "bad_certificate"},
    Name{43, "unsupported_certificate"},
    Name{44, "certificate_revoked"},
    Name{45, "certificate_expired"},
    Name{46, "certificate_unknown"},
    Name{47, "illegal_parameter"},
    Name{48, "unknown_ca"},
    Name{49, "access_denied"},
    Name{50, "decode_error"},
    Name{51, "decrypt_error"},
    Name{60, "export_restriction"},
    Name{70, "protocol_version"},
    Name{71, "insufficient_security"},
    Name{80, "internal_error"},
    Name{86, "inappropriate_fallback"},
    Name{90, "user_canceled"},
    Name{100, "no_renegotiation"},
    Name{109, "missing_extension"},
    Name{110, "unsupported_extension"},
    Name{111, "certificate_unobtainable"},
    Name{112, "unrecognized_name"},
    Name{113, "bad_certificate_status_response"},
    Name{114, "bad_certificate_hash_value"},
    Name{115, "unknown_psk_identity"},
    Name{116, "certificate_required"},
    Name{120, "no_application_protocol"},
    Name{121, "ech_required"},
};

std::string name_in(
    std::span<const Name> names, std::uint16_t number, const char* kind)
{
    const auto found = std::find_if(names.begin(), names.end(),
        [&](const Name& name) { return name.number == number; });
    if (found != names.end())
        return found->text;
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), "%s 0x%04x", kind,
        static_cast<unsigned>(number));
    return text.data();
}

}  // namespace

std::string tls::version_name(std::uint16_t number)
{
    return name_in(versions, number, "version");
}

std::string tls::cipher_name(std::uint16_t number)
{
    return name_in(ciphers, number, "cipher suite");
}

std::string tls::group_name(std::uint16_t number)
{
    return name_in(groups, number, "group");
}

std::string tls::alert_name(std::uint8_t number)
{
    return name_in(alerts, number, "alert") + " (" + std::to_string(number)
        + ")";
}

bool tls::is_grease(std::uint16_t number) noexcept
{
    return (number & 0x0f0f) == 0x0a0a && number >> 8 == (number & 0xff);
}

bool tls::is_about_certificate(std::uint8_t alert) noexcept
{
    return alert >= 42 && alert <= 48 && alert != 47;
}
